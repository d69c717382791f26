"""The execution log in one SQLite file."""
