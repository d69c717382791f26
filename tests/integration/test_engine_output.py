"""What activities print and log: kept for each attempt, and passed on all the same."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from obelisk_ops import Engine, activity, join_set, run, workflow
from obelisk_ops.core.ports import Output
from obelisk_ops.storage import open_reader
from tests.engines import QUICK
from tests.support import PATIENCE_S

log = logging.getLogger("flows.log")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def outputs(db: Path, execution_id: str) -> list[Output]:
    with closing(open_reader(db)) as reader:
        row = reader.find(execution_id)
        assert row is not None
        return reader.outputs(row.key)


def texts(db: Path, execution_id: str) -> list[tuple[int, int, str, str]]:
    return [(one.n, one.attempt, one.stream, one.text) for one in outputs(db, execution_id)]


def say(*words: object, file: object = None) -> None:
    print(*words, file=file)  # type: ignore[call-overload]


def test_it_is_kept_for_each_attempt_and_passed_on(
    db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @activity(retry=QUICK)
    def talk() -> None:
        say("attempt", activity.attempt())
        say("careful", file=sys.stderr)
        if activity.attempt() == 1:
            raise ValueError("again")

    @activity
    async def talk_on_loop() -> None:
        say("ünicode")
        await asyncio.sleep(0)
        sys.stdout.writelines(["one\n", "two\n"])

    @workflow
    async def flow() -> None:
        await talk()
        await talk_on_loop()

    run(flow, db=db, id="f")

    assert texts(db, "f") == [
        (1, 1, "stdout", "attempt 1\n"),
        (1, 1, "stderr", "careful\n"),
        (1, 2, "stdout", "attempt 2\n"),
        (1, 2, "stderr", "careful\n"),
        (2, 1, "stdout", "ünicode\none\ntwo\n"),
    ]
    seen = capsys.readouterr()
    assert seen.out == "attempt 1\nattempt 2\nünicode\none\ntwo\n"
    assert seen.err == "careful\ncareful\n"


def test_what_is_logged_is_kept_once_and_reaches_the_handlers(
    db: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    @activity
    def talk() -> None:
        handler = logging.StreamHandler(sys.stderr)
        log.addHandler(handler)
        try:
            log.warning("disk %d%% full", 93)
            log.info("nobody listens")
            try:
                sys.modules["lost"]
            except KeyError:
                log.exception("it broke")
        finally:
            log.removeHandler(handler)

    @workflow
    async def flow() -> None:
        await talk()

    run(flow, db=db, id="f")

    [kept] = outputs(db, "f")
    assert kept.stream == "log"
    assert kept.text.startswith("WARNING flows.log: disk 93% full\nERROR flows.log: it broke\n")
    assert kept.text.endswith("KeyError: 'lost'\n")
    assert [record.message for record in caplog.records] == ["disk 93% full", "it broke"]
    assert "disk 93% full\n" in capsys.readouterr().err


def test_attempts_at_the_same_time_do_not_mix(db: Path) -> None:
    barrier = threading.Barrier(4)

    @activity
    def talk(who: str) -> None:
        for n in range(20):
            barrier.wait(PATIENCE_S)
            say(who, n)

    @activity
    async def talk_on_loop(who: str) -> None:
        for n in range(20):
            say(who, n)
            await asyncio.sleep(0)

    @workflow
    async def flow() -> None:
        async with join_set() as calls:
            for n in range(4):
                calls.submit(talk, f"thread-{n}")
                calls.submit(talk_on_loop, f"loop-{n}")
            for _ in range(8):
                await calls.next()

    run(flow, db=db, id="f")

    texts = [one.text for one in outputs(db, "f")]
    whos = [text.split()[0] for text in texts]
    assert len(set(whos)) == len(whos) == 8
    assert texts == ["".join(f"{who} {n}\n" for n in range(20)) for who in whos]


def test_the_middle_of_too_much_is_left_out_and_said(db: Path) -> None:
    @activity
    def talk() -> None:
        for n in range(1000):
            say(f"{n:09d}")

    @workflow
    async def flow() -> None:
        await talk()

    async def drive() -> None:
        async with Engine(db, output_limit=100) as engine:
            await (await engine.submit(flow, id="f")).result()

    asyncio.run(drive())

    assert texts(db, "f") == [
        (1, 1, "stdout", "".join(f"{n:09d}\n" for n in range(5))),
        (1, 1, "cut", "9900"),
        (1, 1, "stdout", "".join(f"{n:09d}\n" for n in range(995, 1000))),
    ]


def test_the_streams_are_as_before_when_the_last_engine_is_left(tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr, logging.getLogRecordFactory(), [*logging.root.handlers]

    @activity
    def talk() -> None:
        say("hello")

    @workflow
    async def flow() -> None:
        await talk()

    async def drive() -> None:
        async with Engine(tmp_path / "outer.db") as outer:
            await (await outer.submit(flow, id="f")).result()
            assert sys.stdout is not before[0]
            async with Engine(tmp_path / "inner.db") as inner:
                await (await inner.submit(flow, id="f")).result()
            assert sys.stdout is not before[0]
            await (await outer.submit(flow, id="g")).result()

    asyncio.run(drive())

    after = sys.stdout, sys.stderr, logging.getLogRecordFactory(), [*logging.root.handlers]
    assert after == before
    assert texts(tmp_path / "inner.db", "f") == [(1, 1, "stdout", "hello\n")]
    assert texts(tmp_path / "outer.db", "g") == [(1, 1, "stdout", "hello\n")]


def test_what_workflows_and_others_print_belongs_to_nobody(
    db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @activity
    async def quiet() -> None:
        await asyncio.sleep(0.02)

    @workflow
    async def flow() -> None:
        say("from the workflow")
        await quiet()

    async def drive() -> None:
        async with Engine(db) as engine:
            handle = await engine.submit(flow, id="f")
            say("from outside")
            await handle.result()

    asyncio.run(drive())

    assert outputs(db, "f") == []
    assert "from outside" in capsys.readouterr().out
