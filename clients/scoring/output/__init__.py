"""The output of the production client: saved in parts, joined at the end, retried on request."""
