"""What jobs leave: metrics, logs, diagnostics, files."""
