"""Tables that become those of a newer version, with workers of this version beside them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from obelisk_ops.core.migrating import Migration, Standing
from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.errors import ConfigError, Fenced, OpsError, StillServed, StorageUnavailable
from obelisk_ops.storage.postgres import making, migrating, place, session
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.store import PostgresReader, PostgresStore
from obelisk_ops.storage.postgres.tasks import TaskCounter
from tests.commands import run_here
from tests.fault.test_workers import under_load, workshop
from tests.postgres import Postgres
from tests.support import wait_until

ADDS = Migration(
    version=2, does="let executions have a colour", oldest=1,
    beside=(
        "DROP INDEX CONCURRENTLY IF EXISTS state_created",
        "CREATE INDEX CONCURRENTLY state_created ON state (created_at)",
    ),
    statements=(
        "ALTER TABLE state ADD COLUMN colour text NOT NULL DEFAULT 'none'",
        "ALTER TABLE log ADD COLUMN colour text",
        "ALTER TABLE worker ADD COLUMN colour text",
        "CREATE TABLE colour (name text PRIMARY KEY)",
    ),
)  # fmt: skip
TAKES_AWAY = Migration(
    version=3, does="take timers away", oldest=3, statements=("DROP TABLE timer",)
)
BREAKS = Migration(
    version=2, does="divide by nought", oldest=1,
    statements=("CREATE TABLE half (n int)", "SELECT 1 / 0"),
)  # fmt: skip


@pytest.fixture
def at(postgres: Postgres) -> Place:
    """A schema of this test's own: what is done to it cannot be undone."""
    found = place.read(postgres.fresh_url())
    making.make_if_missing(found)
    return found


def standing(at: Place) -> Standing | None:
    with closing(session.connect(at)) as line:
        return session.standing(line, at)


def tables(postgres: Postgres, at: Place) -> set[object]:
    found = postgres.psql(
        f"SELECT relname FROM pg_class WHERE relnamespace = '{at.schema}'::regnamespace"  # noqa: S608
    )
    return {name for (name,) in found}


def test_workers_of_this_version_go_on_while_tables_are_changed(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.fresh_url()
    at = place.read(url)
    with workshop(url, tmp_path, many=2) as shop:
        many = under_load(url, lambda: change_while_they_work(shop.lines, at))
        assert all(worker.poll() is None for worker in shop.workers)
        assert "joins_again" not in (tmp_path / "log").read_text()
        shop.nothing_is_lost_or_done_again(many)
    assert standing(at) == Standing(version=2, oldest=1)
    assert {"colour", "state_created"} <= tables(postgres, at)


def change_while_they_work(lines: Any, at: Place) -> None:
    wait_until(lambda: len(lines()) > 5, 60, "they work")
    assert migrating.migrate(at, [ADDS]).steps == [ADDS]
    seen = len(lines())
    wait_until(lambda: len(lines()) > seen + 5, 60, "they work on")


def test_what_older_workers_could_not_work_with_waits_for_their_end(
    postgres: Postgres, at: Place
) -> None:
    with closing(PostgresStore(at)) as store:
        with pytest.raises(StillServed, match=r"1 worker could not work with it: pid \d+ on"):
            migrating.migrate(at, [ADDS, TAKES_AWAY])
        assert standing(at) == Standing(version=1, oldest=1), "also the step before is not done"
        plan = migrating.look(at, [ADDS, TAKES_AWAY])
        assert [one.knows for one in plan.in_the_way] == [1]
        store.commit([])

    assert migrating.migrate(at, [ADDS, TAKES_AWAY]).steps == [ADDS, TAKES_AWAY]

    assert standing(at) == Standing(version=3, oldest=3)
    assert "timer" not in tables(postgres, at)
    for opener in (PostgresStore, PostgresReader):
        with pytest.raises(ConfigError, match="schema version 3; this program knows up to 1"):
            opener(at)
    with pytest.raises(ConfigError, match="schema version 3"):
        migrating.migrate(at, [])


def test_who_joins_in_the_meantime_is_seen(
    postgres: Postgres, at: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[PostgresStore] = []
    take = migrating._take

    def take_when_one_has_joined(*args: Any) -> None:
        joined.append(PostgresStore(at))
        take(*args)

    monkeypatch.setattr(migrating, "_take", take_when_one_has_joined)
    with pytest.raises(StillServed):
        migrating.migrate(at, [TAKES_AWAY])
    joined[0].close()
    assert "timer" in tables(postgres, at)


def test_who_stood_still_for_longer_than_its_lease_does_not_go_on(
    postgres: Postgres, at: Place
) -> None:
    with closing(PostgresStore(at)) as store:
        postgres.psql(f"UPDATE {at.schema}.worker SET lease_until = now()")  # noqa: S608

        migrating.migrate(at, [TAKES_AWAY])

        with pytest.raises(Fenced):
            store.look(())


def test_a_claimer_that_stood_still_for_longer_than_its_lease_does_not_go_on(
    postgres: Postgres, at: Place
) -> None:
    with closing(TaskCounter(at, ["gpu"])) as counter:
        assert counter.news(["m.f"]).others == frozenset()
        with pytest.raises(StillServed):
            migrating.migrate(at, [TAKES_AWAY])
        postgres.psql(f"UPDATE {at.schema}.claimer SET lease_until = now()")  # noqa: S608

        migrating.migrate(at, [TAKES_AWAY])

        for _ in range(2):
            with pytest.raises(ConfigError, match="version 3; this program knows up to 1"):
                counter.news(["m.f"])
    assert postgres.psql(f"SELECT id FROM {at.schema}.claimer") == []  # noqa: S608


def test_a_claimer_whose_row_is_gone_joins_again(postgres: Postgres, at: Place) -> None:
    with closing(TaskCounter(at, ["gpu"])) as counter:
        counter.news(["m.f"])
        postgres.psql(f"DELETE FROM {at.schema}.claimer")  # noqa: S608
        counter.news(["m.f"])
        found = postgres.psql(f"SELECT id, functions FROM {at.schema}.claimer")  # noqa: S608
        assert found == [(counter.worker, ["m.f"])]


def test_a_claimer_does_not_join_while_tables_are_changed(
    at: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has looked at the tables; they change before it is one of those who are counted."""
    arrange = session.Session._arrange

    def change_behind_the_look(self: session.Session) -> None:
        arrange(self)
        monkeypatch.undo()
        migrating.migrate(at, [TAKES_AWAY])

    monkeypatch.setattr(session.Session, "_arrange", change_behind_the_look)
    with pytest.raises(ConfigError, match="version 3; this program knows up to 1"):
        TaskCounter(at, ["gpu"])


def test_a_claimer_that_joins_waits_for_a_step(postgres: Postgres, at: Place) -> None:
    with closing(psycopg.connect(at.url)) as step, ThreadPoolExecutor(1) as pool:
        with step.transaction():
            step.execute("SELECT pg_advisory_xact_lock(%s)", (at.lock_key("joining"),))
            joins = pool.submit(TaskCounter, at, ["gpu"])
            wait_until(lambda: joins.done() or waits_to_join(postgres), 60, "it waits")
            assert not joins.done()
        joins.result().close()


def waits_to_join(postgres: Postgres) -> bool:
    return bool(
        postgres.psql("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
    )


def test_a_step_as_a_whole_takes_no_longer_than_workers_can_stand_still(
    at: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "_WORK_MS", 400)
    step = Migration(
        version=2, does="dawdle", oldest=1, statements=("SELECT pg_sleep(0.25)",) * 2
    )
    with (
        closing(PostgresStore(at)),
        pytest.raises(StorageUnavailable, match="would take longer"),
    ):
        migrating.migrate(at, [step])
    assert standing(at) == Standing(version=1, oldest=1)

    assert migrating.migrate(at, [step]).steps == [step], "without workers it may take its time"


def test_a_program_for_newer_tables_says_how_they_are_made(
    at: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "NEWEST", Standing(version=2, oldest=1))

    with pytest.raises(ConfigError, match="version 1; this program needs 2") as refused:
        PostgresReader(at)
    assert "obelisk-ops db migrate --db 'postgresql://" in refused.value.hint
    migrating.migrate(at, [ADDS])
    PostgresReader(at).close()


def test_nobody_waits_behind_a_step_that_waits(postgres: Postgres, at: Place) -> None:
    """A lock that is wanted is wanted for a moment; then those behind it have their turn."""
    step = dataclasses.replace(ADDS, beside=())
    with (
        closing(psycopg.connect(at.url)) as holder,
        closing(PostgresReader(at)) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        with holder.transaction():
            holder.execute(f"SELECT FROM {at.schema}.state")
            done = pool.submit(migrating.migrate, at, [step])
            wait_until(lambda: is_waiting(postgres, at), 60, "it waits for its lock")
            assert reader.executions(ExecutionFilter(limit=10)) == []
            assert not done.done()
        done.result()
    assert standing(at) == Standing(version=2, oldest=1)


def is_waiting(postgres: Postgres, at: Place) -> bool:
    waits = "NOT granted AND mode = 'AccessExclusiveLock'"
    return bool(
        postgres.psql(
            f"SELECT 1 FROM pg_locks WHERE {waits} AND relation = '{at.schema}.state'::regclass"  # noqa: S608
        )
    )


def test_a_step_is_done_whole_or_not_at_all(postgres: Postgres, at: Place) -> None:
    with pytest.raises(OpsError, match="division by zero"):
        migrating.migrate(at, [BREAKS])

    assert standing(at) == Standing(version=1, oldest=1)
    assert "half" not in tables(postgres, at)


def test_of_many_who_do_it_at_once_one_does(at: Place) -> None:
    with ThreadPoolExecutor(3) as pool:
        barrier = threading.Barrier(3)

        def migrate(_: int) -> None:
            barrier.wait()
            migrating.migrate(at, [Migration(
                version=2, does="", oldest=1, statements=("CREATE TABLE once (n int)",)
            )])  # fmt: skip

        assert list(pool.map(migrate, range(3))) == [None] * 3


@pytest.fixture
def _with_a_newer_version(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: Sequence[Migration] = [ADDS, TAKES_AWAY]
    for function in (migrating.look, migrating.migrate):
        monkeypatch.setattr(function, "__defaults__", (steps,))


@pytest.mark.usefixtures("_with_a_newer_version")
def test_the_command_says_what_it_would_do_and_does_it(at: Place) -> None:
    url = f"{at.url}&schema={at.schema}"
    asked = ("db", "migrate", "--db", url)

    with closing(PostgresStore(at)):
        dry = run_here(*asked, "--dry-run")
        assert dry.status == 0
        first, *rest = dry.out.splitlines()
        assert first.endswith(": would go from version 1 to 3")
        assert rest[:2] == ["  2  let executions have a colour", "  3  take timers away"]
        assert "  not while pid " in rest[2]
        refused = run_here(*asked, "--json")
        assert (refused.status, refused.error["code"]) == (8, "still_served")
    told = run_here(*asked, "--json").told

    assert (told["needed"], told["made"], told["version"]) == (True, True, 1)
    assert [step["version"] for step in told["steps"]] == [2, 3]
    assert run_here(*asked).out.endswith(": nothing to do\n")
