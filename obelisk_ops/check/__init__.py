"""Proves the path from a database here to an object in the bucket, check by check."""
