"""What the operating system gives a process: its share of the host, files of its own."""
