"""Laws for every normalizer, ours or anybody's, such as equal results in all PyTorch modes."""
