"""Mailbox on PostgreSQL: the connection of who reads, and asks the workers for something."""

from __future__ import annotations

from obelisk_ops.core.letters import is_wanted
from obelisk_ops.core.routing import route
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.storage.postgres.errors import is_conflict
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import CONFLICTS_MAX, QUERIES
from obelisk_ops.storage.postgres.store import PostgresReader, name_of


class PostgresMailbox(PostgresReader):
    """See Mailbox."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.last_letter = 0
        self._posted: tuple[int, str] | None = None  # what no answer was heard to yet

    def ask(self, kind: str, target: str, body: str, *, now_ms: int) -> bool:
        """
        See Mailbox.ask. A line that is cut is no reason to ask twice, nor to give up.

        Raises:
            StorageUnavailable: Nothing was asked; or, as it says, it is not known.
        """
        for _ in range(CONFLICTS_MAX):
            try:
                return self._ask(kind, target, body, now_ms)
            except StorageUnavailable as error:
                if self._session.is_lost:
                    break
                if not is_conflict(error.__cause__):
                    raise
        return self._has_arrived() or self._ask(kind, target, body, now_ms)

    def _ask(self, kind: str, target: str, body: str, now_ms: int) -> bool:
        self._posted = None
        # What is looked at is one moment, after all that others have asked: the lock is
        # waited for before the first look.
        with self._session.transaction((QUERIES["wait_for_others"], ())):
            wanted = is_wanted(self, kind, target, body, now_ms)
            if wanted:
                name = name_of(body) if kind == "signal" else None
                to = route(kind, target, body)
                channel = self._session.channel
                letter = (now_ms, kind, target, body, name, channel, to.chain, to.function)
                [(posted, transaction, _)] = self._rows("post_letter", letter)
                self._posted = posted, transaction
        if self._posted is not None:
            self.last_letter, _ = self._posted
        return wanted

    def _has_arrived(self) -> bool:
        """Tell whether the letter is there to whose commit no answer was heard."""
        if self._posted is None:
            return False
        letter, transaction = self._posted
        if not self._session.is_committed(transaction):
            return False
        self.last_letter = letter
        return True
