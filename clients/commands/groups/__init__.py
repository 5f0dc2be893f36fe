"""The commands of `ssnet` that have sub-commands."""
