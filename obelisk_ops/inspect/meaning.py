"""
Whether a database means something: what SQLite's own check cannot know.

A file in which pages of two databases, or of two moments, are mixed passes a page check.
Here every log is read: it is whole, each event in it has its cause, the tables beside it
hold what follows from it, and code that has not changed since comes to the same end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import apsw
import msgspec

from obelisk_ops.core import ids
from obelisk_ops.core.causes import unfounded, unhappened
from obelisk_ops.core.events import Event
from obelisk_ops.core.history import History, history_of
from obelisk_ops.core.ports import ExecutionFilter, LogReader, State, StateRow
from obelisk_ops.core.rebuild import differences
from obelisk_ops.durable.flow.debugging import replay_to
from obelisk_ops.durable.flow.digests import digest_on_record
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import OpsError
from obelisk_ops.inspect import summary
from obelisk_ops.storage import open_reader, sql

CHECKS = ("logs", "causes", "projections", "replay")
OK, SKIPPED, FAILED = "ok", "skipped", "failed"

_PAGE = 500
_WORDS_MAX = 3
_SQL = sql.load("obelisk_ops.inspect", "queries.sql")


class Code(Protocol):
    """Workflows by the names that stand in logs."""

    def get(self, name: str) -> Workflow[Any, Any] | None:
        """Return the workflow of this name, if it is known."""
        ...


@dataclass(slots=True, kw_only=True)
class Meaning:
    """
    What was found.

    Attributes:
        checks: Check → ``ok``, ``skipped: why`` or ``failed: what``.
        executions: How many were looked at.
        replayed: How many of them were replayed.
    """

    checks: dict[str, str] = field(default_factory=dict)
    executions: int = 0
    replayed: int = 0


def read_meaning(connection: apsw.Connection, path: Path, code: Code | None = None) -> Meaning:
    """
    Read every log of a database that has passed the page check.

    Args:
        connection: Opened by ``open_read_only``; its limit of time holds.
        path: The file, for messages.
        code: What finished executions are replayed with, where it is the code that ran.

    Raises:
        apsw.Error: It cannot be read, or not in time; ``open_read_only`` translates it.
    """
    why = _why_not(connection)
    if why:
        return Meaning(checks=dict.fromkeys(CHECKS, f"{SKIPPED}: {why}"))
    reading = _Reading(connection, open_reader(path, connection), code)
    gone = summary.leftovers(connection)
    for row in reading.rows():
        if row.key not in gone:
            reading.read(row)
    broken = summary.broken_logs(connection)
    if broken:
        reading.wrong["logs"] = [f"incomplete, of executions {broken}"]
    return reading.told()


def _why_not(connection: apsw.Connection) -> str:
    if not summary.is_workflow_database(connection):
        return "not a workflow database"
    schema = summary.read_meta(connection)["schema_version"]
    if schema != summary.KNOWN_SCHEMA:
        return f"schema version {schema} is newer than this program"
    return ""


class _Reading:
    """Goes through one database; ``wrong`` is what it found, a few words for each check."""

    def __init__(
        self, connection: apsw.Connection, reader: LogReader, code: Code | None
    ) -> None:
        self._connection, self._reader, self._code = connection, reader, code
        self.wrong: dict[str, list[str]] = {}
        self._executions = self._replayed = 0

    def rows(self) -> Iterator[StateRow]:
        after: str | None = None
        while page := self._reader.executions(ExecutionFilter(limit=_PAGE, after=after)):
            yield from page
            after = page[-1].id

    def told(self) -> Meaning:
        checks = {
            check: f"{FAILED}: {'; '.join(self.wrong[check])}" if self.wrong.get(check) else OK
            for check in CHECKS
        }
        if checks["replay"] == OK and not self._replayed:
            why = "no finished execution of this very code" if self._code else "no code named"
            checks["replay"] = f"{SKIPPED}: {why}"
        return Meaning(checks=checks, executions=self._executions, replayed=self._replayed)

    def read(self, row: StateRow) -> None:
        """Look at one execution."""
        self._executions += 1
        try:
            log, inbox = self._reader.log(row.key), self._reader.inbox(row.key)
            if not log or [event.version for event in log] != list(range(len(log))):
                self._add("logs", row, ["its versions are not 0, 1, 2, …"])
                return
            timers = dict(self._connection.execute(_SQL["timers"], (row.key,)))
            self._add("causes", row, unfounded(log))
            self._add("causes", row, unhappened(row, log, inbox, self._end_of))
            self._add("causes", row, self._unparented(row))
            self._add("projections", row, differences(row, log, inbox, timers))
            self._replay(row, history_of(row.id, log, inbox))
        except (msgspec.DecodeError, KeyError, ValueError, OpsError) as wrong:
            self._add("logs", row, [f"its log cannot be read: {wrong}"])

    def _add(self, check: str, row: StateRow, words: Iterable[str]) -> None:
        kept = self.wrong.setdefault(check, [])
        kept += [f"{row.id}: {text}" for text in islice(words, _WORDS_MAX - len(kept))]

    def _unparented(self, row: StateRow) -> Iterator[str]:
        if row.parent is None:
            return
        first, _ = ids.split_link(row.id)
        created = self._reader.events_of(row.parent, {"child_created"})
        if all(msgspec.json.decode(event.body)["id"] != first for event in created):
            yield "no log knows it as a child"

    def _end_of(self, execution_id: str) -> Event | None:
        newest = ids.latest(execution_id, self._reader.find, self._reader.newest_link)
        found = self._reader.find(newest)
        return self._reader.last(found.key) if found else None

    def _replay(self, row: StateRow, history: History) -> None:
        function = self._code.get(row.function) if self._code else None
        if function is None or row.state is not State.FINISHED:
            return
        # Other code may rightly come to another end.
        if digest_on_record(history.created, history.events) != function.digest:
            return
        self._replayed += 1
        stop = replay_to(history, function, len(history.events) - 1)
        if stop.error is not None:
            self._add("replay", row, [stop.error.message])
        elif not (stop.has_finished or stop.cut_short):
            self._add("replay", row, ["its code does not come to its end"])
