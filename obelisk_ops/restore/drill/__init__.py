"""Proving that a backup can be restored, by restoring it and reading what came back."""
