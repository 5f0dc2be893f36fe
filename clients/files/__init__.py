"""Input and output files: entries, checksums, provenance, contents and default choices."""
