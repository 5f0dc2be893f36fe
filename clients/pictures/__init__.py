"""Event displays of files: `ssnet display`."""
