"""Keeps every database replicated, and knows the truth about it: observe, plan, act."""
