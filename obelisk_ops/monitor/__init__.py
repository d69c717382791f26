"""Tells others how the databases are: metrics that are fetched, alerts that are sent."""
