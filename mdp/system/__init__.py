"""The process of a command, and its machine: signals, logs, limits, batch jobs, contact files."""
