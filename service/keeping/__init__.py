"""The rules of projects for the files of ended jobs, and the collector that removes the others."""
