"""The pure part: values and decisions, no clock, no disk, no network."""
