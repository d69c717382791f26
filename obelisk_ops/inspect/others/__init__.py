"""Databases of other engines for durable workflows: what ran in them, and how far it came."""
