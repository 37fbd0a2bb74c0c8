"""The database: its tables, its door, identifiers, events, tokens."""
