"""The database: its tables, its connections, identifiers, events, tokens."""
