"""Random changes to batches of training samples; each sample has its own random numbers."""
