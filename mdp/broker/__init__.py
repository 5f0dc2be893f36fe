"""The broker: its state machine, what it reports, and the loop that runs it."""
