"""Where stacks run, and how a client connects to one."""
