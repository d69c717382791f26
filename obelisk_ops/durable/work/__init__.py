"""Attempts of activities: queues, slots, threads, child processes, heartbeats, output."""
