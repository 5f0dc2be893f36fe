"""The production client: scores the pixels of LArCV files; each plane has its own workers."""
