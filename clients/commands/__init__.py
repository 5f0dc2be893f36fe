"""The commands that users type, a file for each, which imports what it needs when it runs."""
