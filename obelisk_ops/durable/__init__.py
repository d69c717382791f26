"""Runs executions: claim, replay, start activities, append, release."""
