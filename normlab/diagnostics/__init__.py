"""Measure a model while it learns, without changing it."""
