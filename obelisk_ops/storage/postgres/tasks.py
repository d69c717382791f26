"""
Tasks in the table ``task``: how their owner sees them, and the counter where they are claimed.

Who claims has a row in the table ``claimer`` with a lease, which ends by the clock of the
server, and a connection of its own with a lock on it: the server lets go of that when the
process is killed. A connection that breaks ends the lock, too; who connects again within a
second is not taken for dead. Behind a pooler there is no such lock, and the row says so.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from typing import Any, Final

import msgspec
import psycopg

from obelisk_ops.core.ports import BeatRow, OutputRow
from obelisk_ops.core.rows import TaskKey, TaskRow
from obelisk_ops.core.tasks import NOTHING, Claim, News, Sighting, Standing, View, Wish
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.storage.postgres.migrations import NEWEST
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import QUERIES, Session, refuse_foreign

_encode = msgspec.json.Encoder().encode
_NAME_BYTES: Final = 63


class TaskBoard:
    """See Board."""

    _rows: Callable[..., list[Any]]

    def __init__(
        self, place: Place, rows: Callable[..., list[Any]], owner: Callable[[], int]
    ) -> None:
        """Look by running statements with *rows*, at what is the *owner*'s."""
        self._place, self._rows, self._owner = place, rows, owner

    def tasks(self) -> list[Standing]:
        """See Board.tasks."""
        return _standings(self._rows("list_tasks", (self._owner(),)))

    def answered(self) -> list[Standing]:
        """See Board.answered."""
        return _standings(self._rows("answered_tasks", (self._owner(),)))

    def running(self) -> list[Standing]:
        """See Board.running."""
        return _standings(self._rows("running_tasks", (self._owner(),)))

    def sight(self, workers: Collection[int]) -> list[Sighting]:
        """See Board.sight."""
        pairs = [(worker, _lock_key(self._place, worker)) for worker in workers]
        found = self._rows("sight_claimers", (_text(pairs),))
        return [Sighting(worker, is_over, bool(is_gone)) for worker, is_over, is_gone in found]

    def call(self, workers: Collection[int]) -> None:
        """See Board.call."""
        self._rows("call_claimers", (_text(list(workers)),))


def look_at(place: Place, executions: Collection[int]) -> list[View]:
    """Return how far the tasks of some executions are."""
    with closing(Session(place)) as session:
        rows = session.rows("look_at_tasks", (_text(sorted(executions)),))
    fields = [field.name for field in dataclasses.fields(View)]
    return [View(**dict(zip(fields, row, strict=True))) for row in rows]


class TaskCounter(Session):
    """See Counter."""

    def __init__(self, place: Place, queues: Collection[str]) -> None:
        """
        Be a new claimer of tasks of these queues.

        Raises:
            DatabaseNotFound: There are no tables yet.
            StorageUnavailable: The server does not answer.
        """
        self.worker = secrets.randbits(62)
        self._queues = sorted(queues)
        self._functions: list[str] = []
        self._said: list[str] = []  # of those, what its row says
        self._known_as: tuple[int, str] | None = None
        super().__init__(place)

    def claim(self, queue: str, functions: Collection[str], room: int) -> list[Claim]:
        """See Counter.claim."""
        values = (queue, sorted(functions), room, self.worker)
        # Not asked again by itself: what an answer that was lost has claimed, ``claims`` tells.
        return _claims(self._ask("claim_tasks", values))

    def claim_at_rate(
        self, queue: str, functions: Collection[str], room: int, many: int, per_ms: int
    ) -> tuple[list[Claim], bool]:
        """See Counter.claim_at_rate."""
        # One after the other: who counts must see what the one before has counted.
        with self.transaction(level="READ COMMITTED"):
            self._fetch("lock_until_commit", (self.place.lock_key(f"rate {queue}"),))
            values = (queue, sorted(functions), room, self.worker, many, per_ms)
            found = self._fetch("claim_at_rate", values)
        [(left, *_)] = found[:1]
        claims = _claims(row[1:] for row in found if row[1] is not None)
        return claims, len(claims) == left < room

    def claims(self) -> list[Claim]:
        """See Counter.claims."""
        return _claims(self.rows("reclaimed_tasks", (self.worker,)))

    def news(self, functions: Collection[str]) -> News:
        """See Counter.news."""
        self._functions = sorted(functions)
        if self._functions != self._said:
            self._join()
        found = self.rows("task_news", (self.worker, self._queues))
        if not any(is_known for *_, is_known in found):
            # It stood still while tables were made with which it cannot work.
            self._join()
            found = self.rows("task_news", (self.worker, self._queues))
        news = [row for row in found if not row[4]]
        wanted = frozenset(row[:3] for row in news if row[0] is not None)
        others = frozenset(row[3] for row in news if row[3] is not None)
        return News(wanted=wanted, is_any=len(wanted) + len(others) < len(news), others=others)

    def finish(
        self, outcomes: Sequence[tuple[TaskKey, str]], outputs: Sequence[OutputRow],
        beats: Sequence[BeatRow], wish: Wish = NOTHING,
    ) -> list[Claim]:  # fmt: skip
        """See Counter.finish. Said twice it is heard once."""
        if beats:
            self.beat(beats)
        done = [(*key, outcome) for key, outcome in outcomes]
        said = [(*row[:6], row[6].encode()) for row in outputs]
        wanted = (wish.queue, sorted(wish.functions), wish.room)
        rows = self._ask("finish_tasks", (self.worker, _text(done), _text(said), *wanted))
        owners = [owner for owner, *_ in rows if owner is not None]
        if owners:
            self.say("tell_owners", (_text(owners), self.channel))
        return _claims(row[1:] for row in rows if row[1] is not None)

    def release(self, tasks: Collection[TaskKey]) -> None:
        """See Counter.release."""
        self._ask("release_tasks", (self.worker, _text(sorted(tasks))))

    def beat(self, beats: Sequence[BeatRow]) -> None:
        """See Counter.beat."""
        self._ask("beat_tasks", (self.worker, _text(beats)))

    def abandon(self) -> None:
        """See Counter.abandon."""
        super().close()

    def _ask(self, name: str, values: Sequence[Any]) -> list[Any]:
        self.ensure()
        try:
            return self._fetch(name, values)
        except psycopg.Error as error:
            raise self.in_words(error) from error

    def _arrange(self) -> None:
        super()._arrange()
        if self._known_as is not None:
            self._fetch("end_session", self._known_as)
        self._known_as = None
        if not self.is_pooled:
            self._lock()
            [self._known_as] = self._fetch("this_session", ())
        self._fetch("forget_claimers", ())
        self._join()

    def _join(self) -> None:
        joining = (self.place.lock_key("joining"),)
        with self.transaction((QUERIES["lock_until_commit"], joining), level="READ COMMITTED"):
            # Once more: the tables may have been changed since, for want of claimers.
            refuse_foreign(self._connection, self.place)
            self._fetch("join_claimers", self._row())
        self._said = self._functions

    def _lock(self) -> None:
        [(is_held,)] = self._fetch("lock_claimer", (_lock_key(self.place, self.worker),))
        if not is_held:
            raise StorageUnavailable(
                f"{self.place}: the server has not let go of the lost connection yet"
            )

    def _row(self) -> Sequence[Any]:
        host, pid = socket.gethostname(), os.getpid()
        known = (NEWEST.version, self.is_pooled)
        return self.worker, host, pid, self._queues, self._functions, *known

    def close(self) -> None:
        """See Counter.close."""
        if not self._connection.closed:
            with suppress(psycopg.Error):
                self._fetch("leave_claimers", (self.worker,))
        super().close()


def tasks_channel(place: Place) -> str:
    """Return where workers listen for tasks."""
    return f"tasks_{place.schema}"[:_NAME_BYTES]


def _standings(rows: Iterable[Sequence[Any]]) -> list[Standing]:
    return [
        Standing(key=(execution, n, attempt), worker=worker, outcome=outcome, is_over=is_over)
        for execution, n, attempt, worker, outcome, is_over in rows
    ]


def _claims(rows: Iterable[Sequence[Any]]) -> list[Claim]:
    names = TaskRow.__struct_fields__
    claims = [
        Claim(task=TaskRow(**dict(zip(names, row[:-1], strict=True))), details=row[-1])
        for row in rows
    ]
    # An UPDATE returns its rows in no order.
    return sorted(claims, key=lambda claim: (-claim.task.priority, claim.task.key))


def _lock_key(place: Place, worker: int) -> int:
    return place.lock_key(f"worker {worker}")


def _text(value: Any) -> str:  # noqa: ANN401 - rows
    return _encode(value).decode()
