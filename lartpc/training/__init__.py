"""Training data: names of batches, sparse images and crops with labels and weights."""
