"""A job's life and its results, kept in PostgreSQL. No torch here."""
