"""Plugins of a stack: stored by digest, described in another process, in force or named by jobs."""
