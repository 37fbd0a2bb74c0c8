"""Random changes to training samples, in batches, each sample by numbers of its own."""
