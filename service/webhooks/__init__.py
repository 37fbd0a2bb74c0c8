"""Tell webhooks what has happened: written with the news itself, and delivered until it arrives."""
