"""What a command shows: progress, tables, errors."""
