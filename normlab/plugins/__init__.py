"""Code of other people: declared by decorators, described as facts, loaded where it runs."""
