"""
A worker's row of a schema, and what becomes of it when a connection is lost.

A worker has a row in the table ``worker``, and its connection an advisory lock for that. Who
takes a row begins a new *term* in it, a number: every commit asserts the number, so that a
worker whose row was taken is refused, also where a pooler between here and the server makes
nothing of locks. The lock only tells that a connection has ended, and the worker with it, it
may be; and the lease in the row, which every commit renews, that nothing is heard of it. See
``core.workers`` for what follows from that.

The same row counts the commits of a term. Whoever heard no answer to a commit reads
there whether it arrived: never before the lock is held again, for until then the server may
still be at it.

Behind a pooler that gives each transaction another connection a lock would be left with
whichever it was taken on. There is none then, the row says so, and the lease alone tells; who
was cut off from one, or by one goes on, begins another term in its own row: it waits there for
what is under way, and what comes later is refused.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.words import counted
from obelisk_ops.core.workers import GRACE_MS, Adopted, Look, Sighting, living, to_take
from obelisk_ops.errors import (
    OpsError,
    StorageUnavailable,
    VerificationFailed,
)
from obelisk_ops.storage.postgres.errors import fenced, may_pass, translate
from obelisk_ops.storage.postgres.migrations import NEWEST
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import (
    QUERIES,
    Session,
    Values,
    ask,
    connect,
    refuse_foreign,
)

_READ_PATIENCE_S = 30.0
_READ_PAUSE_S = 0.2
#: whoever waits with a connection renews its lease meanwhile
_BEAT_MS = 1000
#: no two terms that are drawn are the same; who takes a row adds one
_TERM_BITS = 40
_pause = threading.Event()
_clock = SystemClock()


#: rows of workers in this process that have not let go
_mine: set[tuple[int, int]] = set()


class Ownership(Session):
    """
    A worker's connection.

    Attributes:
        id: Of its row.
        term: How often that was taken.
        commits: How many commits of this term have arrived.
        is_keeper: Whether it was the one to look after schedules when it joined.
        patience_s: How long the server may be away, or refuse, while something is read.
        last_owner_closed: Whether the one who had the row before gave it up by itself.
    """

    #: a minute: its statements are short, and an engine that waits hears no signal
    _looks_most = 600

    def __init__(self, place: Place) -> None:
        """
        Join.

        Raises:
            StorageUnavailable: The server does not answer.
        """
        self.id = self.term = self.commits = 0
        self.is_keeper = False
        self.last_owner_closed = True
        self._known_as: tuple[int, str] | None = None
        self._was_cut = False  # since the last look
        self._drawn: list[int] = []  # terms that may have begun: no answer was heard
        self.patience_s = _READ_PATIENCE_S
        self._served: list[str] = []
        self._beat_at = 0  # when the lease was renewed, or that was tried
        self._stalled_since: int | None = None  # since when nothing can be read
        super().__init__(place)

    def asserted(self) -> tuple[int, int, int]:
        """Return what the next commit asserts: its row and term, and its own number."""
        return self.id, self.term, self.commits + 1

    def sightings(self) -> list[Sighting]:
        """Return all rows, as they are now; see ``core.workers``."""
        return _sightings(self._fetch("read_workers", (self.place.lock_class(),)))

    def look(self, functions: Collection[str]) -> Look:
        """See Shared.look. It waits for nobody."""
        self._served = sorted(functions)
        seen, (*_, has_letters, gifts) = self._beat()
        was_away, self._was_cut, self._stalled_since = self._was_cut, False, None
        return Look(workers=seen, has_letters=has_letters, gifts=gifts, was_away=was_away)

    def _beat(self) -> tuple[list[Sighting], Sequence[Any]]:
        """Renew the lease; return all rows as they were before, and this worker's own."""
        self._beat_at = _clock.elapsed_ms()
        served, at = self._served, self.place.lock_class()
        rows = self.rows("beat", lambda: (at, self.id, self.term, served))
        mine = [row for row in rows if row[0] == self.id]
        if not mine or mine[0][1] != self.term:
            raise fenced(self.place.label)
        seen = _sightings(rows)
        [me] = [one for one in seen if one.id == self.id]
        self.is_keeper = me.is_keeper
        self._was_cut |= me.left_ms <= 0
        return seen, mine[0]

    def adopt(self, row: Sighting) -> Adopted | None:
        """See Shared.adopt."""
        self.ensure()  # a term may begin with that
        joining = (self.place.lock_key("joining"),)
        with self.transaction(
            (QUERIES["lock_until_commit"], joining),
            (QUERIES["assert_worker"], (self.id, self.term, self.commits)),
            level="READ COMMITTED",
        ):
            found = self._fetch("adopt_row", (row.id, row.term, row.lease))
            if not found:
                return None
            [(is_keeper,)] = found
            if is_keeper:
                self._fetch("be_keeper", (self.id,))
            keys = self._fetch("adopt_states", (self.id, row.id))
            self._fetch("adopt_letters", (self.id, row.id))
        self.is_keeper = self.is_keeper or is_keeper
        return Adopted(keys=frozenset(key for (key,) in keys), is_keeper=is_keeper)

    def give(self, keys: Collection[int], to: int) -> bool:
        """See Shared.give."""
        self.ensure()
        both = (QUERIES["lock_both"], (self.id, to))
        asserted = (QUERIES["assert_worker"], (self.id, self.term, self.commits))
        with self.transaction(both, asserted, level="READ COMMITTED"):
            if not self._fetch("note_gift", (to, self.channel)):
                return False
            self._fetch("give_states", (json.dumps(list(keys)), to, self.id))
        return True

    def call(self, rows: Collection[int]) -> None:
        """See Shared.call."""
        self.rows("call", (json.dumps(list(rows)), self.channel))

    def rows_patiently(self, name: str, values: Values = ()) -> list[Any]:
        """
        Run a statement that reads, and wait while the server is away, or refuses it.

        Whoever reads for a workflow has no other way to go on; and nothing else could.
        """
        while True:
            try:
                found = self.rows(name, values)
            except StorageUnavailable as error:
                if not self._may_pass(error):
                    raise
            else:
                self._stalled_since = None
                return found
            self._renew()
            _pause.wait(_READ_PAUSE_S)

    def _may_pass(self, error: StorageUnavailable) -> bool:
        """Tell whether there is sense in asking again, and time left for it."""
        if self._in_transaction or not (self.is_lost or may_pass(error.__cause__)):
            return False
        # By the clock: where a network swallows all, each try takes as long as connecting may.
        # And once for all that is read meanwhile: an engine that waits hears no signal.
        now_ms = _clock.elapsed_ms()
        if self._stalled_since is None:
            self._stalled_since = now_ms
        return now_ms - self._stalled_since < self.patience_s * 1000

    def _renew(self) -> None:
        """Renew the lease, where it is time to and the server is there."""
        if not self.is_lost and _clock.elapsed_ms() - self._beat_at >= _BEAT_MS:
            with suppress(StorageUnavailable):
                self._beat()

    def close(self) -> None:
        """Give it up, and say so. Twice is allowed."""
        if not self._connection.closed:
            try:
                self._fetch("let_go", (self.id, self.term))
                self._fetch("tell_left", (self.channel,))
                if not self.is_pooled:
                    self._fetch("unlock", ())
            except psycopg.Error:
                self._connection.close()  # the server notices by itself
        self.abandon()

    def abandon(self) -> None:
        """Give it up as if the process had been killed."""
        _mine.discard(self._name)
        super().close()

    @property
    def _name(self) -> tuple[int, int]:
        return self.place.lock_class(), self.id

    def _arrange(self) -> None:
        super()._arrange()
        if self._known_as is not None:
            self._fetch("end_session", self._known_as)
        if self.term:
            self._was_cut = True
            self._resume()
        else:
            self._join()
        self._known_as = None
        if not self.is_pooled:
            [self._known_as] = self._fetch("this_session", ())

    def _join(self) -> None:
        before = self._looked_at_twice()
        me = (socket.gethostname(), os.getpid(), NEWEST.version, self.is_pooled)
        with self._alone():
            # Once more: the tables may have been changed while this one waited for its turn.
            refuse_foreign(self._connection, self.place)
            row = to_take(self.sightings(), before)
            if row is None:
                found = self._fetch("make_row", me)
            else:
                found = self._fetch("take_row", (row.id, row.term, *me))
            [(self.id, self.term, self.is_keeper, self.last_owner_closed)] = found
            self._lock()
        _mine.add(self._name)

    def _looked_at_twice(self) -> list[Sighting]:
        """Return how all were a moment ago; one whose process is known to be gone, long ago."""
        seen = self.sightings()
        gone = [one for one in seen if one.is_gone and not one.is_closed]
        if all(map(self._has_ended, gone)):
            return [replace(one, seen_ms=one.seen_ms - GRACE_MS) for one in seen]
        self._fetch("call", (json.dumps([one.id for one in gone]), self.channel))
        _pause.wait(GRACE_MS / 1000)
        return seen

    def _has_ended(self, seen: Sighting) -> bool:
        if seen.host != socket.gethostname():
            return False
        if seen.pid == os.getpid():
            return (self.place.lock_class(), seen.id) not in _mine
        return not _is_alive(seen.pid)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Do what is in the block in a transaction of which there is one at a time."""
        self.run(self.beginning())
        self._fetch("lock_until_commit", (self.place.lock_key("joining"),))
        yield
        self.run([("COMMIT", ())])  # else the connection is closed

    def _resume(self) -> None:
        self._lock()
        if self.is_pooled or self._known_as is None:  # now, or before
            commits = self._begin_anew()
        else:
            term, commits, *_ = self._row()
            if term not in (self.term, *self._drawn):
                raise fenced(self.place.label)
            self.term, self._drawn = term, []
        if commits < self.commits:
            raise self._forgetful(self.commits - commits)
        self.commits = commits

    def _begin_anew(self) -> int:
        """Begin another term, if the row is ours still; return how many commits it did."""
        known = [self.term, *self._drawn]
        drawn = self.term + 1 + secrets.randbits(_TERM_BITS)
        self._drawn.append(drawn)
        found = self._fetch("begin_anew", (self.id, known, drawn, self.is_pooled))
        if not found:
            raise fenced(self.place.label)
        self.term, self._drawn = drawn, []
        [(commits,)] = found
        return int(commits)

    def _row(self) -> Sequence[Any]:
        found: list[Sequence[Any]] = self._fetch("read_worker", (self.id,))
        return found[0] if found else (0, 0)

    def _forgetful(self, count: int) -> OpsError:
        # What is in memory here goes on from them: it must not be written down behind a hole.
        return VerificationFailed(
            f"{self.place.label} has lost {counted(count, 'commit')} that it had acknowledged",
            hint="a standby that lagged has taken the place of its server, it seems; start the "
            "worker again: it goes on from what is there",
        )

    def _lock(self) -> None:
        if self.is_pooled:
            return
        [(is_held,)] = self._fetch("lock", (self.place.lock_class(), self.id))
        if not is_held:
            raise self._still_locked()  # asked again later: the loop is not to stand still

    def _still_locked(self) -> OpsError:
        label = self.place.label
        if self._row()[0] not in (self.term, *self._drawn):
            return fenced(label)
        return StorageUnavailable(
            f"{label}: the server has not let go of the lost connection yet"
        )


def is_owned(place: Place) -> bool:
    """Tell whether a process serves a schema now; it is not disturbed by the question."""
    return bool(_living(place))


def served(place: Place) -> frozenset[str]:
    """Return the workflows that are served now, by whichever worker."""
    return frozenset(function for one in _living(place) for function in one.functions)


def _living(place: Place) -> Sequence[Sighting]:
    with closing(connect(place)) as connection:
        try:
            found = ask(connection, place, "read_workers", (place.lock_class(),))
            return living(_sightings(found))
        except psycopg.Error as error:
            raise translate(error, place.label) from error


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sightings(rows: Sequence[Sequence[Any]]) -> list[Sighting]:
    now_ms = _clock.elapsed_ms()
    return [
        Sighting(
            id=number, term=term, is_closed=closed, is_empty=empty, is_keeper=keeper, host=host,
            pid=pid, lease=lease, left_ms=left, up_ms=up, has_renewed=renewed,
            functions=frozenset(served), is_connected=connected, is_pooled=pooled,
            seen_ms=now_ms,
        )
        for (
            number, term, closed, empty, keeper, host, pid, lease, left, up, renewed, served,
            connected, pooled, *_,
        ) in rows
    ]  # fmt: skip
