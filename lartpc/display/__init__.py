"""Event displays."""
