"""What users type: one file a command. Each imports what it needs when it runs."""
