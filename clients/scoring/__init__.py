"""The production client: every plane's pixels of LArCV files scored by its own pool."""
