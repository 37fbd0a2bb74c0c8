"""Grids and searches: their cells, previews and tables."""
