"""Plugins of a stack: kept by their digest, described apart, in force or named by jobs."""
