"""What happens inside a model while it learns: measures that change nothing."""
