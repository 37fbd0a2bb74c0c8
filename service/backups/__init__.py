"""Back a stack up while it works, and restore it elsewhere."""
