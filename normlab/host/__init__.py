"""The operating system: the limits of a process, its private files, locks and children."""
