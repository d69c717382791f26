"""
When it is time to look for new databases again.

A look at thousands of files costs more than everything else that is done for databases at
rest. A file that comes, goes or is renamed changes its folder, and that is seen with one call.
"""

from __future__ import annotations

import os

from obelisk_ops.settings import Settings, folders_looked_at

#: However still the folders seem: not every file system keeps their times exactly.
_LOOK_MS = 1_500
#: Where it is not known which folders matter.
_BLIND_MS = 500


class Lookout:
    """Remembers the folders as they were at the last look."""

    def __init__(self) -> None:
        self._seen: object = None
        self._looked_ms: int | None = None

    def is_due(self, settings: Settings, *, now_ms: int) -> bool:
        """Tell whether to look now; if so, the caller does."""
        folders = folders_looked_at(settings)
        seen = folders and {folder: _changed_ns(folder) for folder in folders}
        pause_ms = _BLIND_MS if folders is None else _LOOK_MS
        is_old = self._looked_ms is None or now_ms - self._looked_ms >= pause_ms
        if not is_old and seen == self._seen:
            return False
        # What was seen before the look: a change during it is another one.
        self._seen, self._looked_ms = seen, now_ms
        return True


def _changed_ns(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return None
