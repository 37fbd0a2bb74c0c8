"""The life cycle of jobs and their results, stored in PostgreSQL. This package needs no torch."""
