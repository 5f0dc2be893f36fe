"""The files of clients: their entries, provenance, contents and defaults."""
