"""The driver: it asks for files to be scored, and puts the outputs under their final names."""
