"""Where stacks run, and how a client gets to one."""
