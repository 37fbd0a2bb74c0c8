"""What a job is: every field, its default and its limits. No torch here."""
