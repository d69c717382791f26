"""Which file is at the path of a database, and whether one that can be backed up ever was."""

from __future__ import annotations

from pathlib import Path

from obelisk_ops.core.clock import Clock
from obelisk_ops.supervise import identity


class Whereabouts:
    """
    What is at a path, from look to look.

    Attributes:
        path: The path.
        inode: Which file it is; None if there is none.
        was_there: Whether there ever was one.
        since_ms: When that was first seen, by ``Clock.elapsed_ms``.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.inode: int | None = None
        self.was_there = False
        self.since_ms = clock.elapsed_ms()
        self._was_database = False
        self.path, self._clock = path, clock

    @property
    def is_of_nothing(self) -> bool:
        """Tell whether nothing is there now, and no database was whenever it was looked at."""
        return not self._was_database and identity.inode_of(self.path) is None

    def is_there(self) -> bool:
        """Tell whether the file is there, asked anew: ``ok`` must not outlive it."""
        return self.inode is not None and self.path.exists()

    def look(self) -> str | None:
        """Return what has changed, in words, empty for the first file; None if nothing has."""
        before, now = self.inode, identity.inode_of(self.path)
        if now is not None and not self._was_database:
            # Whatever is away: what was a database once is told of until a person says so.
            seen = identity.identify(self.path)
            self._was_database = seen is not None and seen.is_database
        if now == before:
            return None
        self.inode, self.since_ms = now, self._clock.elapsed_ms()
        self.was_there = self.was_there or now is not None
        if before is None:
            return ""
        return "the file is gone" if now is None else "another file is in its place"
