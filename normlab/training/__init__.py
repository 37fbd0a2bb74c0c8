"""The training of a network: the loop, its parts, and its interface to accelerators."""
