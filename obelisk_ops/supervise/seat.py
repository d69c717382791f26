"""The place of one database in the process of a group, and how it changes its place."""

from __future__ import annotations

from collections.abc import Callable

from obelisk_ops.core.clock import Clock
from obelisk_ops.supervise.child import Litestream
from obelisk_ops.supervise.runner import Member, Runner


class Seat:
    """
    Which runner serves a database.

    Two processes never have one file open: the next runner is asked for it when the process
    of the last one has ended, or goes on without it.

    Attributes:
        runner: The runner that serves it now.
    """

    def __init__(
        self, database: str, runner: Runner, clock: Clock, on_news: Callable[[], None]
    ) -> None:
        self.runner = runner
        self._clock = clock
        self._idle_ms: int | None = None
        self._database, self._on_news = database, on_news
        self._next: Runner | None = None
        runner.join(database, on_news)

    @property
    def group(self) -> str:
        """The group it is in, or is about to be in."""
        return (self._next or self.runner).name

    @property
    def process(self) -> Litestream | None:
        """The process that has the file open; None if none does."""
        return self.runner.process_of(self._database)

    def idle_since_ms(self) -> int | None:
        """Return since when it is seen that no process has the file open; None if one has."""
        if self.process is not None:
            self._idle_ms = None
        elif self._idle_ms is None:
            self._idle_ms = self._clock.elapsed_ms()
        return self._idle_ms

    def move(self, runner: Runner) -> None:
        """Change to another group, as soon as nothing holds the file."""
        if self._next is not None:
            self._next.part(self._database)
        self._next = None if runner is self.runner else runner
        if self._next is not None:
            # Its process is started when all who change place together have come.
            self._next.join(self._database, self._on_news)
            self._next.want(self._database, Member(is_awaited=True))
        self._on_news()

    def want(self, member: Member) -> None:
        """Ask for what the database needs, of whichever runner may be asked now."""
        if self._next is not None:
            self.runner.leave(self._database)
            if self.process is not None:
                return
            self.runner.part(self._database)
            self.runner, self._next = self._next, None
        self.runner.want(self._database, member)

    def leave(self) -> None:
        """Ask for nothing any more; what is on this disk is shipped if that is possible."""
        self.runner.leave(self._database)
        if self._next is not None:
            self._next.part(self._database)
            self._next = None

    def part(self) -> None:
        """Give it up for good."""
        self.leave()
        self.runner.part(self._database)
