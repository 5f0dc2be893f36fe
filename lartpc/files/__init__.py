"""Open, read and write LArCV files of both formats."""
