"""The servers of one machine: PostgreSQL, Redis and our own processes, from start to stop."""
