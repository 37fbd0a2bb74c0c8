"""Start and stop the servers of one machine: PostgreSQL, Redis and our own processes."""
