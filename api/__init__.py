"""The HTTP interface and the web page. This package never loads torch."""
