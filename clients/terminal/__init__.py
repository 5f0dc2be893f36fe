"""What a command shows on the terminal: progress, tables, errors."""
