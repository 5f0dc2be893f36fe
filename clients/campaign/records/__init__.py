"""What a campaign keeps on disk: its catalogue, and which driver writes it."""
