"""The production client: scores the pixels of LArCV files, each plane by its own pool."""
