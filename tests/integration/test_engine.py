"""The engine on a real SQLite file: starting, attaching, values, leaving."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from obelisk_ops import (
    Engine,
    ExecutionFailed,
    NotSerialisable,
    ReplicationTimeout,
    Retry,
    WorkflowMisuse,
    activity,
    run,
    workflow,
)
from obelisk_ops.errors import ConfigError, ExecutionExists, InvalidInput, StorageUnavailable
from tests.engines import NEVER, Gate, bodies, kinds, read_log, soon, until


@dataclass(frozen=True)
class Order:
    id: int
    items: tuple[str, ...] = ()


@activity
async def price(item: str) -> int:
    return len(item)


@activity
def ship(order: Order) -> dict[str, int]:
    return dict.fromkeys(order.items, order.id)


@workflow
async def fulfil(order: Order) -> tuple[int, dict[str, int]]:
    total = 0
    for item in order.items:
        total += await price(item)
    return total, await ship(order)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_one_step_after_the_other(db: Path) -> None:
    assert run(fulfil, Order(7, ("tea", "jam")), db=db, id="o") == (6, {"tea": 7, "jam": 7})

    assert kinds(read_log(db, "o")) == [
        "created", "intended", "returned", "intended", "returned", "intended", "returned",
        "finished",
    ]  # fmt: skip


@pytest.mark.behaviour("O54", "P47")
def test_the_same_run_again_does_nothing(db: Path) -> None:
    first = run(fulfil, Order(7, ("tea",)), db=db, id="o")
    log = read_log(db, "o")

    assert run(fulfil, Order(7, ("tea",)), db=db, id="o") == first

    assert read_log(db, "o") == log
    with pytest.raises(ExecutionExists, match="has the input"):
        run(fulfil, Order(8), db=db, id="o")


def test_an_error_of_run_is_told_alone_and_with_its_hint(db: Path) -> None:
    with pytest.raises(StorageUnavailable) as told:
        run(fulfil, Order(7), db=db.with_name("none") / "runs.db")
    shown = "".join(format_exception(told.value))
    assert "During handling" not in shown
    assert f"hint: {told.value.hint}" in shown


def test_run_works_where_a_loop_runs(db: Path) -> None:
    async def main() -> Any:
        return run(fulfil, Order(7, ("tea",)), db=db)

    assert asyncio.run(main()) == (3, {"tea": 7})


def test_what_cannot_be_started_is_refused_and_leaves_nothing(db: Path) -> None:
    async def main() -> list[Any]:
        async with Engine(db) as engine:
            with pytest.raises(InvalidInput, match="does not fit"):
                await engine.submit(fulfil, "no order")
            with pytest.raises(InvalidInput, match="missing a required argument"):
                await engine.submit(fulfil)
            with pytest.raises(InvalidInput, match="cannot be an execution id"):
                await engine.submit(fulfil, Order(1), id="a/b")
            with pytest.raises(WorkflowMisuse, match="is no workflow"):
                await engine.submit(price, "x")  # type: ignore[arg-type]
            return engine.list()

    assert asyncio.run(main()) == []


@pytest.mark.parametrize(
    ("option", "least"),
    [("threads", 1), ("max_crashes", 1), ("keep_loaded", 0), ("output_limit", 0), ("grace", 0)],
)
def test_too_little_is_refused_by_its_name(db: Path, option: str, least: int) -> None:
    with pytest.raises(ConfigError, match=f"{option}={least - 1!r} is too little"):
        Engine(db, **{option: least - 1})  # type: ignore[arg-type]


def test_how_long_may_be_a_timedelta(db: Path) -> None:
    short = timedelta(milliseconds=100)

    async def main() -> None:
        async with Engine(
            db,
            durability="replicated",
            replication_timeout=short,
            grace=short,
            storage_timeout=short,
        ) as engine:
            with pytest.raises(ReplicationTimeout, match=r"within 0\.1 s"):
                await (await engine.submit(fulfil, Order(1))).result()

    asyncio.run(main())


def test_what_is_there_at_once_may_be_awaited(db: Path) -> None:
    async def main() -> None:
        async with Engine(db) as engine:
            handle = await engine.submit(fulfil, Order(1), id="o")
            await handle.result()
            assert (await handle.status()).state == handle.status().state == "finished"
            assert await handle.events() == handle.events() == read_log(db, "o")
            assert [row.id for row in await engine.list()] == ["o"]

    asyncio.run(main())


def test_what_was_created_since_a_moment(db: Path) -> None:
    async def main() -> None:
        async with Engine(db) as engine:
            await (await engine.submit(fulfil, Order(1), id="o")).result()
            hour = timedelta(hours=1)
            assert [row.id for row in engine.list(since=datetime.now(UTC) - hour)] == ["o"]
            assert engine.list(since=datetime.now(UTC) + hour) == []
            with pytest.raises(InvalidInput, match="in which time zone"):
                _ = engine.list(since=datetime(2026, 1, 1))  # noqa: DTZ001

    asyncio.run(main())


def test_an_engine_that_is_not_running_says_so(db: Path) -> None:
    engine = Engine(db)

    with pytest.raises(WorkflowMisuse, match="not running"):
        _ = engine.list()
    with pytest.raises(WorkflowMisuse, match="not running"):
        asyncio.run(_submit(engine))


async def _submit(engine: Engine) -> None:
    await engine.submit(fulfil, Order(1))


@pytest.mark.behaviour("O54")
def test_the_same_id_attaches_also_at_the_same_moment(db: Path) -> None:
    @workflow
    async def quick(value: int) -> int:
        return value

    async def main() -> list[bool]:
        async with Engine(db) as engine:
            handles = await asyncio.gather(
                *(engine.submit(quick, 1, id="same") for _ in range(3)),
                engine.submit(quick, 2, id="innocent"),
            )
            assert [await handle.result() for handle in handles] == [1, 1, 1, 2]
            return [handle.created for handle in handles]

    assert asyncio.run(main()) == [True, False, False, True]


def test_two_engines_in_one_process_do_not_know_each_other(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with Engine(tmp_path / "a.db") as one, Engine(tmp_path / "b.db") as other:
            first = await one.submit(fulfil, Order(1), id="same")
            second = await other.submit(fulfil, Order(2), id="same")
            await asyncio.gather(first.result(), second.result())
            return [len(one.list()), len(other.list())]

    assert asyncio.run(main()) == [1, 1]


def test_a_thousand_executions_at_once(db: Path) -> None:
    async def main() -> int:
        async with Engine(db) as engine:
            handles = await asyncio.gather(
                *(engine.submit(fulfil, Order(n, ("a", "bc"))) for n in range(1000))
            )
            results = await asyncio.gather(*(handle.result() for handle in handles))
            return sum(total for total, _ in results)

    assert asyncio.run(main()) == 3000


class Socket:
    """Nothing that could be stored."""


@pytest.mark.behaviour("P08")
def test_a_result_that_cannot_be_stored_is_not_tried_again(db: Path) -> None:
    ran: list[int] = []

    @activity
    def make() -> Any:
        ran.append(1)
        return Socket()

    @workflow
    async def asks() -> str:
        try:
            await make()
        except NotSerialisable as error:
            return error.message
        return ""

    @workflow
    async def is_asked() -> Any:
        return Socket()

    assert "cannot be stored" in run(asks, db=db)
    assert ran == [1]
    with pytest.raises(ExecutionFailed, match="NotSerialisable") as caught:
        run(is_asked, db=db)
    assert caught.value.exit_status == 13


def test_arguments_that_do_not_fit_an_activity_are_not_tried_again(db: Path) -> None:
    @workflow
    async def flow() -> None:
        await price(5)  # type: ignore[arg-type]

    with pytest.raises(ExecutionFailed, match="InvalidInput"):
        run(flow, db=db, id="f")

    assert bodies(read_log(db, "f"), "attempt_failed") == []


def test_text_that_is_not_unicode_in_an_error_harms_nobody(db: Path) -> None:
    @activity(retry=NEVER)
    def act() -> None:
        raise OSError("no file \udcff")

    @workflow
    async def flow() -> None:
        await act()

    with pytest.raises(ExecutionFailed, match="no file"):
        run(flow, db=db)


def test_work_that_does_not_end_is_let_go_after_the_grace(db: Path) -> None:
    gate = Gate()

    @activity
    async def act() -> str:
        return await gate.pass_through("x")

    @workflow
    async def flow() -> str:
        try:
            return await act()
        finally:
            await price("clean-up")

    async def main(grace: float, opens: str) -> str:
        async with Engine(db, grace=grace) as engine:
            handle = await engine.submit(flow, id="f")
            await until(lambda: gate.started["x"], "the activity starts")
            if opens:
                gate.open()
                return await handle.result()
        return "left"

    started = time.monotonic()
    assert asyncio.run(main(0.1, "")) == "left"
    assert time.monotonic() - started < 20
    assert asyncio.run(main(5, "opens")) == "x"
    assert [body["try"] for body in bodies(read_log(db, "f"), "attempt_started")] == [2]


def test_what_is_asked_for_while_leaving_is_begun_by_the_next_engine(db: Path) -> None:
    ran: list[int] = []

    @activity
    def act() -> int:
        ran.append(activity.attempt())
        return 1

    @workflow
    async def flow() -> int:
        return await act()

    async def leaves() -> None:
        async with Engine(db) as engine:
            asking = asyncio.create_task(engine.submit(flow, id="f"))
            await asyncio.sleep(0)
        assert (await asking).created
        await asyncio.sleep(0.05)
        assert ran == []

    asyncio.run(leaves())

    assert run(flow, db=db, id="f") == 1
    assert ran == [2]


def test_work_that_will_not_be_cancelled_is_left_behind(db: Path) -> None:
    released = asyncio.Event()

    @activity
    async def act() -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    @workflow
    async def flow() -> None:
        await act()

    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(0.05)
        assert not released.is_set(), "it is left while the work goes on"
        released.set()

    soon(main())


def test_leaving_lets_activities_end(db: Path) -> None:
    @activity
    async def act() -> str:
        await asyncio.sleep(0.1)
        return "done"

    @workflow
    async def flow() -> str:
        return await act()

    async def main() -> None:
        async with Engine(db) as engine:
            await engine.submit(flow, id="f")

    asyncio.run(main())

    assert kinds(read_log(db, "f"))[-2:] == ["returned", "finished"]


def test_a_policy_that_makes_no_sense_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidInput):
        Retry(max_attempts=0)
