"""Commands of an operator: what a running broker does, and what its peers get to do."""
