"""LArCV files: opened, read and written, whatever their format."""
