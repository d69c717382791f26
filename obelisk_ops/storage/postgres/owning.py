"""
The right to be the one owner of a schema, and what becomes of it when a connection is lost.

An advisory lock belongs to a connection, and the connection to the owner: as long as it
lives nobody else can become the owner, and what is committed on it is committed by the
owner. When it is lost the server lets go of the lock, soon or late. So each owner begins a
*term*, a number in the table ``owner``: who connects again and finds its own number
there is still the owner; who finds another one was succeeded, and is refused. Every commit
asserts the number, also where a pooler between here and the server makes nothing of locks.

The same row counts the commits of a term. Whoever heard no answer to a commit reads
there whether it arrived: never before the lock is held again, for until then the server may
still be at it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.words import counted
from obelisk_ops.errors import (
    DatabaseLocked,
    OpsError,
    StorageUnavailable,
    VerificationFailed,
)
from obelisk_ops.storage.postgres.errors import fenced, translate
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import QUERIES, Session, connect

_TRIES = 100  # the server needs a moment to see that a killed owner is dead
_PAUSE_S = 0.03
_READ_PATIENCE_MS = 20_000
_READ_PAUSE_S = 0.2
_pause = threading.Event()
_clock = SystemClock()


class Ownership(Session):
    """
    The owner's connection.

    Attributes:
        term: Which owner this is, since the tables were made.
        commits: How many commits of this term have arrived.
        last_owner_closed: Whether the one before gave it up by itself.
    """

    #: a minute: its statements are short, and an engine that waits hears no signal
    _looks_most = 600

    def __init__(self, place: Place) -> None:
        """
        Become the owner.

        Raises:
            DatabaseLocked: Another process is.
            StorageUnavailable: The server does not answer.
        """
        self.term = self.commits = 0
        self.last_owner_closed = True
        self._known_as: tuple[int, str] | None = None
        super().__init__(place)

    def asserted(self) -> tuple[int, int]:
        """Return what the next commit asserts: its term, and its own number."""
        return self.term, self.commits + 1

    def rows_patiently(self, name: str, values: Sequence[Any] = ()) -> list[Any]:
        """
        Run a statement that reads, and wait while the server is away.

        Whoever reads for a workflow has no other way to go on; and nothing else could.
        """
        # By the clock: where a network swallows all, each try takes as long as connecting may.
        until = _clock.elapsed_ms() + _READ_PATIENCE_MS
        while True:
            try:
                return self.rows(name, values)
            except StorageUnavailable:
                if not self.is_lost or _clock.elapsed_ms() >= until:
                    raise
            _pause.wait(_READ_PAUSE_S)

    def close(self) -> None:
        """Give it up, and say so. Twice is allowed."""
        if not self._connection.closed:
            try:
                self._cursor.execute(QUERIES["let_go"], (self.term,))
                self._cursor.execute(QUERIES["unlock"])
            except psycopg.Error:
                self._connection.close()  # the server notices by itself
        super().close()

    def abandon(self) -> None:
        """Give it up as if the process had been killed."""
        super().close()

    def _arrange(self) -> None:
        super()._arrange()
        if self._known_as is not None:
            self._fetch("end_session", self._known_as)
        self._lock()
        [self._known_as] = self._fetch("this_session", ())
        if self.term:
            self._resume()
        else:
            self._succeed()

    def _succeed(self) -> None:
        holder = f"pid {os.getpid()} on {socket.gethostname()}"
        [(self.term, self.last_owner_closed)] = self._fetch("take_over", (holder,))

    def _resume(self) -> None:
        [(term, commits, _)] = self._fetch("read_owner", ())
        if term != self.term:
            raise fenced(self.place.label)
        if commits < self.commits:
            raise self._forgetful(self.commits - commits)
        self.commits = commits

    def _forgetful(self, count: int) -> OpsError:
        # What is in memory here goes on from them: it must not be written down behind a hole.
        return VerificationFailed(
            f"{self.place.label} has lost {counted(count, 'commit')} that it had acknowledged",
            hint="a standby that lagged has taken the place of its server, it seems; start the "
            "worker again: it goes on from what is there",
        )

    def _lock(self) -> None:
        for _ in range(_TRIES):
            [(is_held,)] = self._fetch("lock", (self.place.lock_key("owner"),))
            if is_held:
                return
            if self.term:
                raise self._still_locked()  # asked again later: the loop is not to stand still
            _pause.wait(_PAUSE_S)
        raise self._locked()

    def _still_locked(self) -> OpsError:
        [(term, _, _)] = self._fetch("read_owner", ())
        label = self.place.label
        if term != self.term:
            return fenced(label)
        return StorageUnavailable(
            f"{label}: the server has not let go of the lost connection yet"
        )

    def _locked(self) -> OpsError:
        [(_, _, holder)] = self._fetch("read_owner", ())
        label = self.place.label
        return DatabaseLocked(
            f"{label} belongs to another process ({holder})",
            hint="stop it, or send requests to it: obelisk-ops execution submit TARGET --db DB",
        )


def is_owned(place: Place) -> bool:
    """Tell whether a process owns a database now; it is not disturbed by the question."""
    with closing(connect(place)) as connection:
        try:
            cursor = psycopg.RawCursor(connection)
            found = cursor.execute(QUERIES["find_lock"], (place.lock_key("owner"),)).fetchall()
        except psycopg.Error as error:
            raise translate(error, place.label) from error
    return bool(found)
