"""Event displays of files, for `ssnet display`."""
