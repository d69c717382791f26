"""
How often to look where nobody tells that something has come, as behind a pooler.

Soon after something has happened more is likely to: what is looked for then is looked for
often, and the longer nothing happens the more seldom. At rest a few look once a second each.
Many leave it to the look by which each renews its lease: one of them does that soon, and all of
them together ask little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

QUICK_S: Final = 0.05
REST_S: Final = 1.0
_SLOWER: Final = 1.3
#: so many renew a lease about once a second in all; see ``core.workers.LOOK_MS``
MANY: Final = 4


def waits() -> Iterator[float]:
    """Yield how long to wait before each further look for the same, in seconds."""
    wait_s = QUICK_S
    while True:
        yield wait_s
        wait_s = min(wait_s * _SLOWER, REST_S)


@dataclass(slots=True)
class Pace:
    """
    When one looks, and when again.

    Attributes:
        wait_s: How long until the next question whether to look.
        seen: What had happened by the last one, as a number that grows.
    """

    wait_s: float = QUICK_S
    seen: int = -1

    def looks(self, happened: int, workers: int) -> bool:
        """
        Tell whether to look now.

        Args:
            happened: How much has, as a number that grows.
            workers: How many look for the same.
        """
        if happened != self.seen:
            self.seen, self.wait_s = happened, QUICK_S
            return True
        is_at_rest = self.wait_s >= REST_S
        self.wait_s = min(self.wait_s * _SLOWER, REST_S)
        return not is_at_rest or workers < MANY
