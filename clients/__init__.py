"""What users run: files in, services asked, files out. The `ssnet` command is in `cli.py`."""
