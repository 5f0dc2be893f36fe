"""What `ssnet train` does: a network from training batches, and the files that it leaves."""
