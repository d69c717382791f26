"""Log lines of workflow code: each at most once, after its commit, whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from obelisk_ops import Engine, activity, join_set, sleep, storage, workflow
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import Write
from obelisk_ops.durable.flow.debugging import replay_to
from obelisk_ops.errors import CorruptDatabase, OpsError, StorageUnavailable
from obelisk_ops.storage import open_store
from obelisk_ops.testing import EngineForTests, replay
from tests.book import Book
from tests.engines import crash, kinds, read_log, until

log = logging.getLogger("shop")
ORIGINAL = logging.Logger.callHandlers


@pytest.fixture(autouse=True)
def book() -> Iterator[Book]:
    found = Book()
    log.addHandler(found)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(found)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@activity
async def act(n: int = 0) -> int:
    log.info("acting %d", n)
    return n


@workflow
async def flow() -> str:
    log.info("begins")
    await act(1)
    log.info("acted")
    await sleep(0.3)
    log.info("slept")
    return "done"


WHOLE = ["begins", "acting 1", "acted", "slept"]


async def run_flow(database: Path, **options: Any) -> Any:
    async with Engine(database, workflows=[flow], **options) as engine:
        return await (await engine.submit(flow, id="f")).result()


@pytest.mark.behaviour("P20")
def test_each_is_written_once_when_its_turn_is_durable(db: Path, book: Book) -> None:
    book.database = db

    asyncio.run(run_flow(db))

    assert book.lines == WHOLE
    assert [seen[-1] for seen in book.durable] == [
        "intended", "intended", "timer_set", "finished",
    ]  # fmt: skip
    known = [getattr(record, "execution_id", None) for record in book.records]
    assert known == ["f", None, "f", "f"], "an activity's line is nobody's business"


@pytest.mark.behaviour("P20")
def test_a_replay_writes_none_again(db: Path, book: Book, tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(flow, id="f")
            await until(lambda: "acted" in book.lines, "the pause")
            copy = crash(db, tmp_path / "after")
        before, book.records[:] = book.lines, []
        assert before == WHOLE[:-1]
        assert await run_flow(copy) == "done"

    asyncio.run(main())

    assert book.lines == WHOLE[-1:]


def test_a_replay_writes_none_again_also_where_code_asked_for_nothing(
    db: Path, book: Book, tmp_path: Path
) -> None:
    """The last thing on record is then a response, not a command."""

    @workflow(name="pair")
    async def pair() -> None:
        async with join_set() as calls:
            calls.submit(act, 1)
            calls.submit_delay(0.3)
            async for answer in calls:
                log.info("answer %s", answer)

    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(pair, id="f")
            await until(lambda: "answer 1" in book.lines, "the activity")
            copy = crash(db, tmp_path / "after")
        assert kinds(read_log(copy, "f"))[-1] == "returned"
        book.records.clear()
        async with Engine(copy, workflows=[pair]) as engine:
            await engine.handle("f").result()

    asyncio.run(main())

    assert book.lines == ["answer None"]


def test_code_that_runs_first_after_a_restart_writes(db: Path, book: Book) -> None:
    async def main() -> None:
        async with Engine(db) as engine:
            await engine.submit_json(flow, b"[]", execution_id="f", paused=True)
        assert book.lines == []
        async with Engine(db, workflows=[flow]) as engine:
            await engine.handle("f").unpause()
            await engine.handle("f").result()

    asyncio.run(main())

    assert book.lines == WHOLE


@pytest.mark.behaviour("P20")
def test_whatever_commit_a_process_dies_at(db: Path, book: Book) -> None:
    """Each line at most once; and none for a turn that did not become durable."""

    async def dies(*, at: int, is_before: bool) -> None:
        path = db.with_name(f"{at}-{is_before}.db")
        async with EngineForTests(path, workflows=[flow]) as engine:
            (engine.crash_before if is_before else engine.crash_after)(at)
            handle = await engine.submit(flow, id="f")
            await until(lambda: handle.status().state in {"blocked", "finished"}, "the pause")
            await engine.settle()
            await engine.clock.advance(seconds=1)
            assert await handle.result() == "done"

    for at in (1, 2, 3):
        for is_before in (True, False):
            book.records.clear()
            asyncio.run(dies(at=at, is_before=is_before))
            own = [line for line in book.lines if line != "acting 1"]
            lost = 0 if is_before else 1
            assert own == [line for i, line in enumerate(own) if line not in own[:i]], own
            assert len(own) == 3 - lost, (at, is_before, own)


class Faulty:
    """A store that refuses commits while it is told to."""

    def __init__(self, path: Path) -> None:
        self._store: Any = open_store(path)
        self.refuses: OpsError | None = None
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, writes: Sequence[Write]) -> Any:
        if self.refuses is not None:
            self.refused += 1
            raise self.refuses
        return self._store.commit(writes)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Faulty]:
    made: list[Faulty] = []

    def make(path: Path) -> Faulty:
        made.append(Faulty(path))
        return made[-1]

    monkeypatch.setattr(storage, "open_store", make)
    return lambda: made[-1]


def test_a_commit_that_is_tried_again_writes_once_it_is_made(
    db: Path, book: Book, faulty: Callable[[], Faulty]
) -> None:
    async def main() -> None:
        async with Engine(db) as engine:
            faulty().refuses = StorageUnavailable("the disk is full")
            submitting = asyncio.create_task(engine.submit(flow, id="f"))
            await until(lambda: faulty().refused >= 2, "the commit is tried again")
            assert book.lines == []
            faulty().refuses = None
            await (await submitting).result()

    asyncio.run(main())

    assert book.lines == WHOLE


def test_a_commit_that_is_never_made_writes_nothing(
    db: Path, book: Book, faulty: Callable[[], Faulty]
) -> None:
    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            faulty().refuses = CorruptDatabase("torn")
            with pytest.raises(CorruptDatabase):
                await engine.submit(flow, id="f")

    asyncio.run(main())

    assert book.lines == []


def test_code_that_is_dropped_writes_nothing(db: Path, book: Book) -> None:
    @workflow
    async def tidies() -> None:
        try:
            await sleep(60)
        finally:
            log.info("tidied")

    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(tidies, id="f")

    asyncio.run(main())

    assert book.lines == []


def test_what_is_meant_is_what_arguments_were_then(db: Path, book: Book) -> None:
    @workflow
    async def counts() -> None:
        seen: list[int] = []
        log.info("plain %s %d", "text", 1)
        log.info("seen %s", seen)
        log.info("named %(seen)s", {"seen": seen})
        seen.append(1)

    async def main() -> None:
        async with Engine(db) as engine:
            await (await engine.submit(counts)).result()

    asyncio.run(main())

    assert book.lines == ["plain text 1", "seen []", "named []"]
    assert book.records[0].args == ("text", 1), "for handlers that group by the message"


def test_arguments_that_do_not_fit_are_the_handlers_business(
    db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler()
    log.addHandler(handler)

    @workflow
    async def mistaken() -> str:
        log.info("%d and %s", "text", [])
        return "done"

    async def main() -> Any:
        async with Engine(db) as engine:
            return await (await engine.submit(mistaken)).result()

    try:
        assert asyncio.run(main()) == "done"
    finally:
        log.removeHandler(handler)
    assert "Logging error" in capsys.readouterr().err


def test_an_error_keeps_its_traceback(db: Path, book: Book) -> None:
    @workflow
    async def fails() -> None:
        try:
            int("no")
        except ValueError:
            log.exception("failed", extra={"order": 7})

    async def main() -> None:
        async with Engine(db) as engine:
            await (await engine.submit(fails)).result()

    asyncio.run(main())

    assert book.records[0].exc_info is not None
    assert book.records[0].__dict__["order"] == 7


def test_structlog_over_logging_is_held_too(db: Path, book: Book, tmp_path: Path) -> None:
    structured = structlog.wrap_logger(
        log,
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    @workflow(name="structured")
    async def structured_flow() -> None:
        structured.info("begins", order=7)
        await sleep(0.2)

    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            await engine.submit(structured_flow, id="f")
            copy = crash(db, tmp_path / "after")
        async with Engine(copy, workflows=[structured_flow]) as engine:
            await engine.handle("f").result()

    asyncio.run(main())

    assert book.lines == ["event='begins' order=7"]


def test_a_handler_that_raises_stops_nothing(db: Path, book: Book) -> None:
    book.raises = RuntimeError("the disk of the log is full")

    @workflow
    async def logs() -> str:
        log.info("begins")
        return "done"

    async def main() -> Any:
        async with Engine(db) as engine:
            return await (await engine.submit(logs)).result()

    assert asyncio.run(main()) == "done"


def test_a_replay_without_an_engine_writes_nothing(db: Path, book: Book) -> None:
    async def main() -> History:
        async with EngineForTests(db, workflows=[flow]) as engine:
            handle = await engine.submit(flow, id="f")
            await engine.settle()
            return engine.history(handle)

    history = asyncio.run(main())
    book.records.clear()

    assert not replay(history, flow).has_finished
    assert replay_to(history, flow, len(history.events) - 1).waits
    assert book.lines == []
    assert logging.Logger.callHandlers is ORIGINAL


def test_logging_is_as_it_was_when_the_last_engine_is_left(db: Path) -> None:
    async def main() -> None:
        async with Engine(db):
            ours = logging.Logger.callHandlers
            assert ours is not ORIGINAL
            async with Engine(db.with_name("other.db")):
                assert logging.Logger.callHandlers is ours
            assert logging.Logger.callHandlers is ours

    asyncio.run(main())

    assert logging.Logger.callHandlers is ORIGINAL


def test_somebody_else_may_put_a_hook_over_ours(db: Path, book: Book) -> None:
    """As error trackers do: then ours cannot be taken away, and lets everything pass."""

    async def main() -> None:
        async with Engine(db) as engine:
            ours: Any = logging.Logger.callHandlers

            def theirs(self: logging.Logger, record: logging.LogRecord) -> None:
                ours(self, record)

            logging.Logger.callHandlers = theirs  # type: ignore[method-assign]
            await (await engine.submit(flow)).result()
        log.info("after")
        async with Engine(db.with_name("other.db")) as engine:
            await (await engine.submit(flow)).result()

    try:
        asyncio.run(main())
    finally:
        logging.Logger.callHandlers = ORIGINAL  # type: ignore[method-assign]

    assert book.lines == [*WHOLE, "after", *WHOLE]
