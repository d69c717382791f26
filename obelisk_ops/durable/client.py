"""What an engine is that owns nothing: a reader of the file, and a sender of letters."""

from __future__ import annotations

from collections.abc import Callable

from obelisk_ops.core import requests, schedules
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import LogReader, Mailbox
from obelisk_ops.durable.mailroom import ServerBell, wake_owner
from obelisk_ops.durable.others import Ends, check_refusal
from obelisk_ops.storage import (
    Address,
    Place,
    is_missing,
    is_owned,
    make_if_missing,
    open_mailbox,
)
from obelisk_ops.storage.unbegun import WholeReader

#: what may be the first thing that a database is asked for
_FOUNDING = frozenset({"create", schedules.KIND})


class Client:
    """One database that another process owns, or nobody."""

    def __init__(self, path: Address, clock: Clock) -> None:
        """
        Open the database, if there is one.

        Raises:
            CorruptDatabase: It is no SQLite database.
            ForeignDatabase: It is another program's.
            ConfigError: It is one of a newer version.
        """
        self._path = path
        self._clock = clock
        self._mailbox: Mailbox | None = None
        self._sent: dict[str, int] = {}  # the last letter to each execution
        self._whole: LogReader | None = None
        self._ends = Ends()
        self._bell: ServerBell | None = None
        if not is_missing(path):  # else the first to submit makes it
            self._open()

    def reader(self) -> LogReader:
        """
        Return what reads the database, with what waits in its mailbox.

        Raises:
            DatabaseNotFound: There is none yet.
        """
        if self._whole is None:
            self._whole = WholeReader(self._open())
        return self._whole

    def post(self, kind: str, target: str, body: str) -> bool:
        """Put a letter into the mailbox; return whether it changes anything."""
        if kind in _FOUNDING and self._mailbox is None:
            make_if_missing(self._path)
        mailbox = self._open()
        is_news = mailbox.ask(kind, target, body, now_ms=self._clock.now_ms())
        if is_news:
            self._sent[requests.execution_of(kind, target)] = mailbox.last_letter
        wake_owner(self._path)
        return is_news

    @property
    def has_owner(self) -> bool:
        """Whether a process owns the database, and will answer at once."""
        return is_owned(self._path)

    def check(self, execution_id: str) -> None:
        """
        Return if the owner has not refused what was last asked of an execution here.

        Raises:
            OpsError: It has: this is why.
        """
        letter = self._sent.pop(execution_id, 0)
        if letter:
            check_refusal(self._open(), letter)

    async def wait(self, latest: Callable[[], str], has_ended: Callable[[str], bool]) -> None:
        """See Ends.wait."""
        if self._bell is None and isinstance(self._path, Place):
            self._bell = ServerBell(self._path)
        self._ends.is_listening = self._bell is not None and self._bell.hang(self._ends.heard)
        note = self._open().note_waiting if self._ends.is_listening else _nothing
        await self._ends.wait(latest, has_ended, note)

    def close(self) -> None:
        """Let go of the database."""
        if self._bell is not None:
            self._bell.take_down()
        if self._mailbox is not None:
            self._mailbox.close()

    def _open(self) -> Mailbox:
        if self._mailbox is None:
            self._mailbox = open_mailbox(self._path)
        return self._mailbox


def _nothing(_execution_id: str) -> None:
    """Nobody tells: it is looked often."""
