"""A canary: new weights score a share of the crops as well, and are compared with the old ones."""
