"""How results are shown: tables and plots, digits, intervals, columns of files."""
