"""Functions of the operating system: limits of a process, private files, locks, children."""
