"""Measure a model during its training, without changing it."""
