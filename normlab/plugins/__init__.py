"""Plugins: other people's code, declared by decorators, described as facts, loaded to run."""
