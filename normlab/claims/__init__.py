"""The claims of the papers as studies with verdicts."""
