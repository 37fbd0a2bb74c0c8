"""Datasets in files: fetched, indexed, read sample by sample, verified. Needs no torch."""
