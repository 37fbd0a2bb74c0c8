"""The specification of a job: every field, its default and its limits. Needs no torch."""
