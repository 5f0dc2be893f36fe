"""`ssnet train`: train a network from batches, and write its files."""
