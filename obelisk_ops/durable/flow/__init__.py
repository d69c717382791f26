"""Workflow code: what it may say, and the machine that drives and replays it."""
