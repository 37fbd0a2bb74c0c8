"""normlab: which normalizer still trains at batch size 2, and why."""
