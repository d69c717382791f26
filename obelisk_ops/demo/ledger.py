"""What really ran, by the file that the activities wrote themselves. Pure but for reading."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    Attempts by call id.

    Attributes:
        began: Attempts that began.
        ended: Attempts that came to their end.
        failed: Attempts that raised.
        retried: Calls of which a second attempt, or a later one, wrote a line.
    """

    began: Counter[str]
    ended: Counter[str]
    failed: Counter[str]
    retried: frozenset[str]

    @property
    def open_calls(self) -> set[str]:
        """Calls with an attempt that began and did not end yet."""
        over = self.ended + self.failed
        return {call for call, count in self.began.items() if count > over[call]}

    def runs(self, call: str) -> int:
        """Return how often a call ran, attempts that raised by themselves not counted."""
        return self.began[call] - self.failed[call]


def read(path: Path) -> Ledger:
    """Read the file; a last line that a kill cut short does not count."""
    counts: dict[str, Counter[str]] = {w: Counter() for w in ("began", "ended", "failed")}
    retried = set[str]()
    text = path.read_text() if path.exists() else ""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            entry = json.loads(line)
            counts[entry["what"]][entry["call"]] += 1
            if entry["attempt"] > 1:
                retried.add(entry["call"])
    return Ledger(counts["began"], counts["ended"], counts["failed"], frozenset(retried))


def acknowledged(logs: Mapping[str, Iterable[Mapping[str, Any]]]) -> set[str]:
    """Return the calls whose result is in the logs: execution id → events."""
    return {
        f"{execution}/{event['n']}"
        for execution, events in logs.items()
        for event in events
        if event["kind"] == "returned"
    }


def intended(
    logs: Mapping[str, Iterable[Mapping[str, Any]]], *, function: str = ""
) -> set[str]:
    """Return the activity calls that the logs ask for; of *function* by its name's end."""
    return {
        f"{execution}/{event['n']}"
        for execution, events in logs.items()
        for event in events
        if event["kind"] == "intended" and event["fn"].endswith(function)
    }
