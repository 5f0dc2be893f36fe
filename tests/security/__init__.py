"""Who may do what at a broker with keys, and what those do who have none."""
