"""Restoring: which point is meant, a plan, and a checked copy beside what exists."""
