"""Laws that every normalizer obeys, ours and anybody's: in each mode of PyTorch the same."""
