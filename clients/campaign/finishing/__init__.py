"""The end of a campaign: outputs are checked against their inputs, and merged."""
