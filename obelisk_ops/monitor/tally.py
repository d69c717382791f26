"""Counts what the log is told, for the metrics, and passes it on."""

from __future__ import annotations

from collections import Counter

from obelisk_ops.supervise.fleet import Log


class Tally:
    """
    A log that counts.

    Attributes:
        events: How often each event was noted.
        warnings: Those of them that somebody should see.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.events: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()

    def info(self, event: str, **fields: object) -> object:
        """Note an event."""
        self.events[event] += 1
        return self._log.info(event, **fields)

    def warning(self, event: str, **fields: object) -> object:
        """Note an event that somebody should see."""
        self.events[event] += 1
        self.warnings[event] += 1
        return self._log.warning(event, **fields)
