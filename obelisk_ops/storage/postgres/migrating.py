"""
Tables of an older version become those of this one, step by step, while workers go on.

A step is one transaction, and it is brief. Who waits for a lock on a table has everybody
else wait behind: so it gives up after a moment, and is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

import psycopg

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.migrating import Migration, Plan, Program, newest, plan
from obelisk_ops.core.words import counted
from obelisk_ops.errors import ConfigError, StillServed, StorageUnavailable
from obelisk_ops.storage.postgres import making
from obelisk_ops.storage.postgres.errors import translate
from obelisk_ops.storage.postgres.line import Line
from obelisk_ops.storage.postgres.migrations import MIGRATIONS
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import (
    QUERIES,
    ask,
    connect,
    refuse_newer,
    settle,
    standing,
)

_TRIES: Final = 200
_PAUSE_S: Final = 0.3
#: how long a step waits for a lock, and how long all of it may take beside workers: what it
#: has locked they wait for, and half of their lease is over then
_WAIT_MS: Final = 200
_WORK_MS: Final = 5_000
_pause = threading.Event()
_clock = SystemClock()


def look(place: Place, migrations: Sequence[Migration] = MIGRATIONS) -> Plan:
    """
    Return what ``migrate`` would do.

    Raises:
        ConfigError: The schema holds what is not ours, or is of a newer version.
        StorageUnavailable: The server does not answer.
    """
    with _connected(place) as line:
        return _plan(line, place, migrations)


def migrate(place: Place, migrations: Sequence[Migration] = MIGRATIONS) -> Plan:
    """
    Make the tables, or bring them to the newest version; return what there was to be done.

    Raises:
        StillServed: Workers live that could not work with the new tables. Nothing is changed.
        CredentialsError: The user may not.
        ConfigError: The schema holds what is not ours, or is of a newer version.
        StorageUnavailable: The server does not answer, or no moment was free. The steps
            before are done; given again, it goes on behind them.
    """
    with _connected(place) as line:
        found = _plan(line, place, migrations)
        if found.version is None:
            making.make_if_missing(place)
        _refuse_if_served(found, place)
        if line.is_pooled and any(step.beside for step in found.steps):
            raise _refused_behind_a_pooler(place)
        for step in found.steps:
            for statement in step.beside:
                line.execute(statement.encode())
            _take_patiently(line, place, step)
    return found


@contextmanager
def _connected(place: Place) -> Iterator[Line]:
    with closing(connect(place)) as line:
        try:
            if not line.is_pooled:
                # What is done beside workers may wait for them: nobody waits for it.
                line.execute(QUERIES["be_patient"].encode())
            yield line
        except psycopg.Error as error:
            raise translate(error, place.label) from error


def _plan(line: Line, place: Place, migrations: Sequence[Migration]) -> Plan:
    now = standing(line, place)
    if now is not None:
        refuse_newer(now, place, newest(migrations).version)
    return plan(now, migrations, _alive(line, place) if now else [])


def _alive(line: Line, place: Place) -> list[Program]:
    rows = ask(line, place, "programs")
    return [Program(host=host, pid=pid, knows=knows) for host, pid, knows in rows]


def _refuse_if_served(found: Plan, place: Place) -> None:
    if not found.in_the_way:
        return
    version = max(step.version for step in found.steps)
    raise StillServed(
        f"{place.label}: version {version} of the tables is not made while "
        f"{counted(len(found.in_the_way), 'worker')} could not work with it: "
        f"{', '.join(map(str, found.in_the_way))}",
        hint="end them (SIGTERM); one that was killed counts until its lease is over, "
        "30 s at most",
    )


def _refused_behind_a_pooler(place: Place) -> ConfigError:
    return ConfigError(
        f"{place.label} is behind a pooler, and what is done beside workers needs a "
        "connection of its own",
        hint="give the command once more with the URL of the server itself",
    )


def _take_patiently(line: Line, place: Place, step: Migration) -> None:
    for _ in range(_TRIES):
        try:
            _take(line, place, step)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            _pause.wait(_PAUSE_S)
        except psycopg.errors.QueryCanceled as error:
            raise StorageUnavailable(
                f"{place.label}: version {step.version} of the tables would take longer than "
                f"workers can stand still, {_WORK_MS // 1000} s",
                hint="end the workers, then give the command again",
            ) from error
        else:
            return
    raise StorageUnavailable(
        f"{place.label}: version {step.version} of the tables is not made: their locks were "
        "never free",
        hint="end what holds them (see pg_stat_activity), then give the command again",
    )


def _take(line: Line, place: Place, step: Migration) -> None:
    cursor = psycopg.RawCursor(line)
    with line.transaction():
        settle(line, place)
        cursor.execute(QUERIES["be_brief"], (str(_WAIT_MS), str(_WORK_MS)))
        for purpose in ("making", "joining"):
            cursor.execute(QUERIES["lock_until_commit"], (place.lock_key(purpose),))
        until_ms = _clock.elapsed_ms() + _WORK_MS
        now = standing(line, place)
        alive = _alive(line, place)
        found = plan(now, [step], alive)
        _refuse_if_served(found, place)  # who has joined since; from here on nobody does
        if now is None or not found.steps:
            return  # another one has done it
        for fence in ("fence_older", "fence_older_claimers"):
            cursor.execute(QUERIES[fence], (step.oldest,))
        for statement in step.statements:
            left_ms = max(1, until_ms - _clock.elapsed_ms()) if alive else 0  # 0: no limit
            cursor.execute(QUERIES["be_brief"], (str(_WAIT_MS), str(left_ms)))
            cursor.execute(statement)
        facts = {"schema_version": step.version, "oldest_version": max(now.oldest, step.oldest)}
        cursor.executemany(QUERIES["put_meta"], [(k, str(v)) for k, v in facts.items()])
