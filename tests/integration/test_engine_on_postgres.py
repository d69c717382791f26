"""Engines and commands on PostgreSQL: the same words, the same answers as on a file."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, Retry, Signal, activity, run, workflow
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import ConfigError, ExecutionFailed
from tests import command
from tests.commands import run_here
from tests.engines import until
from tests.postgres import Postgres
from tests.support import PATIENCE_S

CODE = """
from datetime import timedelta
from obelisk_ops import Signal, activity, sleep, workflow

go = Signal("go", int)

@activity
def double(n: int) -> int:
    return 2 * n

@workflow
async def twice(n: int) -> int:
    return await double(await double(n))

@workflow
async def waits() -> int:
    return await double(await go.receive())
"""

go = Signal("go", int)
NEVER = Retry(max_attempts=1)


@activity
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@workflow
async def answer() -> int:
    """Wait for a number."""
    number = await go.receive()
    return await add(number or 0, 1)


@workflow(durability="replicated")
async def safe() -> int:
    """Want a bucket."""
    return 1


@activity(durability="replicated")
async def keep() -> int:
    """Want a bucket, too."""
    return 1


@workflow
async def insists() -> int:
    """Want one for this call."""
    return await add.options(durability="replicated")(1, 1)


@workflow
async def tries() -> int:
    """Want one for this call, and pass over that it cannot be had."""
    with suppress(ConfigError):
        await add.options(durability="replicated")(1, 1)
    return await add(1, 2)


@workflow
async def keeps() -> int:
    """Reach it."""
    return await keep()


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.lent() as lent:
        yield lent


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file: a process knows a module of this name once."""
    file = tmp_path_factory.mktemp("flows") / "flows_on_a_server.py"
    file.write_text(CODE)
    return file


def test_a_signal_from_another_connection_is_heard_at_once(url: str) -> None:
    async def main() -> float:
        async with Engine(url, workflows=[answer]) as owner:
            await owner.submit(answer, id="a")
            assert owner._owner is not None
            owner._owner._mailroom._timer.cancel()  # what is left is the bell
            async with Engine(url, serve=False) as client:
                assert client._client is not None
                assert client._client.has_owner
                began = time.monotonic()
                await client.handle("a").signal(go, 41)
                assert await client.handle("a").result() == 42
                return time.monotonic() - began

    assert asyncio.run(main()) < 30


def test_a_script_goes_on_where_it_was(url: str) -> None:
    async def main() -> None:
        async with Engine(url, workflows=[answer]) as engine:
            handle = await engine.submit(answer, id="a")
            await handle.signal(go, 1)

    asyncio.run(main())

    assert run(answer, db=url, id="a") == 2
    assert run(answer, db=url, id="a") == 2


def test_no_bucket_holds_it(url: str) -> None:
    with pytest.raises(ConfigError, match="no bucket holds"):
        Engine(url, durability="replicated")
    with pytest.raises(ConfigError, match="no bucket holds"):
        run(safe, db=url)
    with pytest.raises(ConfigError, match=r"safe says durability='replicated'"):
        Engine(url, workflows=[safe])


def test_an_activity_that_wants_a_bucket_is_refused_before_anything_runs(url: str) -> None:
    """And not when it is reached, which would end the engine and all else in it."""
    with pytest.raises(ConfigError, match=r"keep says durability='replicated'"):
        Engine(url, workflows=[keeps])
    with pytest.raises(ConfigError, match=r"keep says durability='replicated'"):
        run(keeps, db=url)

    async def submit() -> None:
        async with Engine(url, serve=False) as client:
            await client.submit(keeps, id="k")

    with pytest.raises(ConfigError, match=r"keep says durability='replicated'"):
        asyncio.run(submit())


@pytest.mark.parametrize("code", [insists, tries])
def test_a_call_that_wants_a_bucket_fails_its_execution_and_no_other(
    url: str, code: Workflow[[], int]
) -> None:
    """Only the call says it, so it is known when it is reached: not the engine ends then."""

    async def main() -> None:
        async with Engine(url, workflows=[code, answer]) as engine:
            other = await engine.submit(answer, id="a")
            with pytest.raises(ExecutionFailed, match=r"add says durability='replicated'"):
                await (await engine.submit(code, id="i")).result()
            await other.signal(go, 1)
            assert await other.result() == 2

    asyncio.run(main())


def test_commands(url: str, flows: Path, tmp_path: Path) -> None:
    db = ("--db", url)

    assert run_here("run", f"{flows}:twice", "3", *db, "--id", "a").told == 12
    told = run_here("execution", "submit", f"{flows}:waits", *db, "--id", "w").told
    assert told == {"execution_id": "w", "created": True}
    rows = run_here("execution", "list", *db, "--json").told["executions"]
    assert {row["execution_id"]: row["state"] for row in rows} == {
        "a": "finished",
        "w": "pending",
    }
    assert run_here("execution", "result", "a", *db).told == 12
    shown = run_here("execution", "show", "a", *db, "--json").told
    assert (shown["value"], shown["safe_version"]) == (12, None)
    kinds = [
        e["kind"] for e in run_here("execution", "events", "a", *db, "--json").told["events"]
    ]
    assert kinds[0] == "created"
    assert kinds[-1] == "finished"
    assert run_here("execution", "why", "w", *db, "--json").status == 0
    assert run_here("execution", "pause", "w", *db, "--json").told["changed"]
    assert run_here("execution", "unpause", "w", *db, "--json").told["changed"]
    assert run_here("execution", "signal", "w", "go", "4", *db, "--json").told["changed"]
    assert run_here("run", f"{flows}:waits", *db, "--id", "w").told == 8
    exported = run_here("execution", "export", "w", *db)
    assert json.loads(exported.out)
    assert run_here("execution", "cancel", "w", *db).status == 8
    assert run_here("execution", "show", "nobody", *db).status == 7
    assert (
        run_here("execution", "fork", "a", "--from-version", "1", *db, "--id", "b").status == 0
    )
    assert run_here("execution", "replay", "a", f"{flows}:twice", *db).status == 0
    assert run_here("execution", "output", "a", *db).status == 0
    assert run_here("execution", "diff", "a", "b", *db).status in (0, 1)
    assert run_here("execution", "report", "a", *db, "-o", tmp_path / "a.html").status == 0


def test_the_example_that_scales_out_is_the_same_on_both(url: str, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples/scale_out.py"
    asked = ("run", f"{example}:estimate", "4", "--id", "pi", "--db")

    told = [run_here(*asked, database).told for database in (tmp_path / "pi.db", url)]

    assert told[0] == told[1] == pytest.approx(3.14, abs=0.02)


def test_why_tells_what_no_worker_serves(url: str, flows: Path) -> None:
    asked = ("execution", "submit", f"{flows}:twice", "2", "--db", url, "--id", "a")
    why = ("execution", "why", "a", "--db", url, "--json")

    async def main() -> None:
        async with Engine(url, workflows=[answer]):
            assert (await asyncio.to_thread(command.call, *asked)).status == 0
            told = await asyncio.to_thread(command.call, *why)
            assert "unserved" in [reason["kind"] for reason in told.json["reasons"]], told

    asyncio.run(main())


def test_schedules_and_retention_are_asked_for_by_commands(url: str, flows: Path) -> None:
    db = ("--db", url)
    timed = ("schedule", "add", f"{flows}:twice", "1", "--id", "daily", "--every", "1d")

    assert run_here(*timed, *db, "--json").status == 0
    assert [one["schedule_id"] for one in listed(*db)] == ["daily"]
    assert run_here("schedule", "show", "daily", *db).status == 0
    assert run_here("schedule", "next", "daily", *db).status == 0
    assert run_here("schedule", "pause", "daily", *db).status == 0
    assert run_here("schedule", "trigger", "daily", *db).status == 0
    assert run_here("schedule", "delete", "daily", *db).status == 0
    assert listed(*db) == []
    assert run_here("run", f"{flows}:twice", "1", *db, "--id", "a").told == 4
    pruned = ("execution", "prune", "--older-than", "0s", "--apply", *db, "--json")
    assert run_here(*pruned).status == 0
    assert run_here("execution", "show", "a", *db).status == 7


def listed(*db: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_here("schedule", "list", *db, "--json").told["schedules"]
    return found


@activity(at_most_once=True)
async def lasts() -> None:
    """Be under way for ever."""
    await asyncio.Event().wait()


@activity(retry=NEVER)
async def breaks() -> None:
    """Fail."""
    raise ConnectionError("no \x00 line")


@workflow
async def ends(well: bool) -> None:  # noqa: FBT001
    """Stay under way, or fail."""
    await (lasts() if well else breaks())


def test_a_summary_is_that_of_a_file(url: str, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    async def main(database: str) -> None:
        async with Engine(database, workflows=[ends], grace=0) as engine:
            await engine.submit(ends, True, id="waits")  # noqa: FBT003
            failed = await engine.submit(ends, False, id="failed")  # noqa: FBT003
            with pytest.raises(ExecutionFailed):
                await failed.result()
            await until(lambda: len(engine.read_log("waits")) > 1, "it is under way")

    for database in (url, str(tmp_path / "a.db")):
        asyncio.run(main(database))
        told.append(run_here("inspect", database, "--json").told)
    server, file = told

    for own in ("path", "bytes", "database_id", "last_event_at", "checks", "epoch"):
        assert own in server
        server.pop(own), file.pop(own)
    for row in (*server["in_flight"], *file["in_flight"]):
        row.pop("since")
    for row in (*server["failures"], *file["failures"]):
        row.pop("at")
    assert server == file
    assert [row["call_id"] for row in server["in_flight"]] == ["waits/1"]
    assert [row["execution_id"] for row in server["failures"]] == ["failed"]
    assert "workflow database" in run_here("inspect", url).out
    assert run_here("inspect", url, "--list").status == 2


def test_histories_move_between_a_file_and_a_server(
    url: str, flows: Path, tmp_path: Path
) -> None:
    file, bundle = tmp_path / "laptop.db", tmp_path / "w.json"
    assert (
        run_here("execution", "submit", f"{flows}:waits", "--db", file, "--id", "w").status == 0
    )
    assert run_here("execution", "pause", "w", "--db", file).status == 0
    assert run_here("execution", "export", "w", "-o", bundle, "--db", file).status == 0

    assert run_here("execution", "import", bundle, "--db", url).status == 0

    assert run_here("execution", "unpause", "w", "--db", url).status == 0
    assert run_here("execution", "signal", "w", "go", "5", "--db", url).status == 0
    assert run_here("run", f"{flows}:waits", "--db", url, "--id", "w").told == 10


def test_a_worker_serves_and_drains(url: str, flows: Path) -> None:
    worker = command.start("worker", f"{flows}", "--db", url)
    try:
        asked = ("execution", "submit", f"{flows}:twice", "2", "--db", url, "--id", "a")
        assert run_here(*asked).status == 0
        result = ("execution", "result", "a", "--db", url, "--wait", "60")
        assert run_here(*result).told == 8
    finally:
        worker.send_signal(signal.SIGTERM)
        assert command.outcome(worker, 60).status == 0


def test_a_worker_that_is_told_twice_to_stop_ends_as_it_was_to(url: str, flows: Path) -> None:
    worker = command.start("worker", f"{flows}", "--db", url)
    assert worker.stderr is not None
    while "serving" not in worker.stderr.readline():
        assert worker.poll() is None

    worker.send_signal(signal.SIGTERM)
    for _ in range(int(PATIENCE_S) * 1000):  # at whatever moment of its end
        with suppress(subprocess.TimeoutExpired):
            worker.wait(0.001)
            break
        worker.send_signal(signal.SIGTERM)

    ended = command.outcome(worker)
    assert (ended.status, ended.err) == (0, "stopping\n")


def test_tables_are_made_beforehand(postgres: Postgres) -> None:
    fresh = postgres.fresh_url()
    made: list[Any] = [
        run_here("db", "migrate", "--db", fresh, "--json", *more).told
        for more in (("--dry-run",), (), ())
    ]

    assert [(one["needed"], one["made"]) for one in made] == [
        (True, False), (True, True), (False, False),
    ]  # fmt: skip


def test_what_was_typed_is_never_shown_with_its_password(postgres: Postgres) -> None:
    fresh = postgres.fresh_url().replace("postgres@", "postgres:s3cret@", 1)

    told = ""
    for line in (
        ("execution", "list"), ("execution", "show", "nobody"), ("db", "migrate"),
        ("execution", "list"), ("execution", "show", "nobody"), ("execution", "cancel", "x"),
    ):  # fmt: skip
        ran = run_here(*line, "--db", fresh)
        told += ran.out + ran.err
    assert "s3cret" not in told
    assert "--db 'postgresql://postgres@" in told
