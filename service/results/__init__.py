"""The results of jobs: metrics, logs, diagnostics, files."""
