"""Failures that an engine once did not survive, or did not tell of."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest

from obelisk_ops import Engine, Retry, activity, join_set, sleep, storage, workflow
from obelisk_ops.core.ports import Write
from obelisk_ops.durable.flow.attempt import Attempt
from obelisk_ops.durable.handle import Handle
from obelisk_ops.durable.work.attempts import Attempts
from obelisk_ops.errors import OpsError, StorageUnavailable, VersionConflict
from obelisk_ops.storage import open_mailbox
from obelisk_ops.storage.sqlite.store import SqliteStore
from tests.engines import Gate, kinds, read_log, soon, the_tables_fit_the_logs

T = TypeVar("T")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Callable[[], SqliteStore]:
    """The store of the engine that runs."""
    made: list[SqliteStore] = []

    def make(path: Path) -> SqliteStore:
        made.append(SqliteStore(path))
        return made[-1]

    monkeypatch.setattr(storage, "open_store", make)
    return lambda: made[-1]


@workflow
async def quick(value: int) -> int:
    return value


def test_a_letter_that_met_a_passing_error_is_answered(
    db: Path, store: Callable[[], SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    def find(execution_id: str) -> Any:
        if not failed:
            failed.append(execution_id)
            raise StorageUnavailable("disk I/O error, once")
        return SqliteStore.find(store(), execution_id)

    async def main() -> int:
        async with Engine(db, workflows=[quick]), Engine(db, serve=False) as client:
            monkeypatch.setattr(store(), "find", find)
            handle = await client.submit(quick, 1, id="f")
            return await handle.result()

    assert soon(main()) == 1
    assert failed == ["f"]


def test_a_letter_whose_answer_was_refused_is_answered_anew(
    db: Path, store: Callable[[], SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[int] = []

    def commit(writes: Sequence[Write]) -> Mapping[int, OpsError]:
        answers = [n for n, write in enumerate(writes) if write.letters_done]
        if answers and not refused:
            refused.extend(answers)
            return {answers[0]: VersionConflict("somebody else was first, once")}
        return SqliteStore.commit(store(), writes)

    async def main() -> int:
        async with Engine(db, workflows=[quick]), Engine(db, serve=False) as client:
            monkeypatch.setattr(store(), "commit", commit)
            handle = await client.submit(quick, 1, id="f")
            return await handle.result()

    assert soon(main()) == 1
    assert refused == [0]


def test_a_refused_execution_with_a_timer_harms_nobody(db: Path) -> None:
    gate = Gate()

    @activity
    async def act() -> str:
        return await gate.pass_through("act")

    @workflow
    async def guilty() -> None:
        async with join_set() as calls:
            calls.submit_delay(0.4)
            calls.submit(act)
            async for _ in calls:
                pass

    @workflow
    async def innocent() -> int:
        await sleep(0.7)
        return 7

    async def main() -> int:
        async with Engine(db, grace=0) as engine:
            other = await engine.submit(innocent, id="i")
            handle = await engine.submit(guilty, id="g")
            key = (handle.status().key << 32) + len(handle.events())
            row = (key, 0, "parked", "{}")
            with closing(sqlite3.connect(db)) as connection:
                connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", row)
                connection.commit()
            gate.open()
            with pytest.raises(VersionConflict):
                await handle.result()
            return await other.result()

    assert soon(main()) == 7


def test_a_refused_execution_with_a_retry_leaves_no_hole_in_its_log(
    db: Path, store: Callable[[], SqliteStore]
) -> None:
    attempts: list[int] = []

    @activity(retry=Retry(initial=timedelta(milliseconds=300), jitter=0))
    async def flaky() -> str:
        attempts.append(activity.attempt())
        if len(attempts) == 1:
            raise ConnectionError
        return "x"

    @activity
    async def too_big() -> str:
        await asyncio.sleep(0.1)
        return "x" * 200_000

    @workflow
    async def flow() -> int:
        async with join_set() as calls:
            calls.submit(flaky)
            calls.submit(too_big)
            return sum([len(text) async for text in calls])

    async def refused() -> None:
        async with Engine(db, grace=0) as engine:
            store()._connection.limit(apsw.SQLITE_LIMIT_LENGTH, 100_000)
            handle = await engine.submit(flow, id="f")
            with pytest.raises(StorageUnavailable):
                await handle.result()
            await asyncio.sleep(0.5)

    async def resumed() -> Any:
        async with Engine(db, workflows=[flow], grace=0) as engine:
            return await engine.handle("f").result()

    soon(refused())
    log = read_log(db, "f")
    assert [event.version for event in log] == list(range(len(log)))
    assert soon(resumed()) == 200_001
    with closing(SqliteStore(db)) as reopened:
        the_tables_fit_the_logs(reopened)


OWNER = """
import sys
from pathlib import Path
from obelisk_ops.core.ports import Write
from obelisk_ops.storage import open_store
from obelisk_ops.storage.sqlite.beside import Lock

path = Path(sys.argv[1])
lock, store = Lock(path), open_store(path)
for version, kind in enumerate(("created", "resumed")):
    store.commit([Write(1, [(1, version, 0, kind, '{"fn":"f","in":[]}')])])
    print(kind, flush=True)
    sys.stdin.readline()
"""

READER = """
import apsw, sys

connection = apsw.Connection(sys.argv[1])
connection.execute("SELECT count(*) FROM log").fetchall()
print("open", flush=True)
sys.stdin.readline()
"""


@contextmanager
def program(text: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", text, *map(str, args)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert says(process)
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def goes_on(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return says(process)


@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_letter_does_not_overwrite_the_last_commit_of_a_killed_owner(
    db: Path, opened: str
) -> None:
    index = db.with_name(db.name + "-shm")
    # Somebody keeps the database open, as Litestream does, and with it the index.
    with program(OWNER, db) as killed, program(READER, db):
        clients = [open_mailbox(db)] if opened == "before" else []
        known = index.read_bytes()[:96]
        assert goes_on(killed) == "resumed"
        killed.kill()
        killed.wait()
        with index.open("r+b") as file:  # killed before its commit was in the index
            file.write(known)
        with closing(clients.pop() if clients else open_mailbox(db)) as client:
            client.ask("create", "asked", '{"fn":"f","in":[]}', now_ms=1)
    index.unlink()

    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT kind FROM log").fetchall() == [
            ("created",), ("resumed",),
        ]  # fmt: skip
        assert connection.execute("SELECT target FROM mailbox").fetchall() == [("asked",)]


def test_a_commit_that_can_not_even_be_rolled_back_is_told(
    db: Path, store: Callable[[], SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = ["COMMIT", "ROLLBACK"]

    def breaks(execute: Callable[..., Any]) -> Callable[..., Any]:
        def instead(text: str, *values: Any) -> Any:
            if left and text == left[0]:
                left.pop(0)
                raise apsw.IOError(f"disk I/O error at {text}")
            return execute(text, *values)

        return instead

    async def main() -> list[bool]:
        async with Engine(db, grace=0) as engine:
            monkeypatch.setattr(store(), "_execute", breaks(store()._execute))
            return [await told(engine.submit(quick, 1, id=name)) for name in "ab"]

    acknowledged = soon(main())
    assert left == []
    check_acknowledged(db, dict(zip("ab", acknowledged, strict=True)))


def test_a_store_that_breaks_in_its_own_way_is_told(
    db: Path, store: Callable[[], SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(writes: list[Write]) -> Any:
        raise ArithmeticError("a bug of the store")

    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            monkeypatch.setattr(store(), "commit", commit)
            for name in "ab":
                with pytest.raises(OpsError, match="a bug of the store"):
                    await engine.submit(quick, 1, id=name)
            with pytest.raises(OpsError, match="a bug of the store"):
                await engine.failed()

    soon(main())


async def told(request: Coroutine[Any, Any, object]) -> bool:
    """Return whether a request was acknowledged; else it must be refused by an error."""
    try:
        await request
    except OpsError:
        return False
    return True


def check_acknowledged(db: Path, requests: dict[str, bool]) -> None:
    async def main() -> None:
        async with Engine(db, workflows=[quick], grace=0) as engine:
            for name in (
                name for name, was_acknowledged in requests.items() if was_acknowledged
            ):
                assert await engine.handle(name).result() == 1
            assert await (await engine.submit(quick, 2)).result() == 2

    soon(main())


@activity
def in_a_thread() -> int:
    return 1


@workflow
async def threaded() -> int:
    return await in_a_thread()


def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuses(thread: threading.Thread) -> None:
        if thread.name.startswith("activity-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuses)


def no_attempt_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Attempts, attempt: Attempt) -> None:
        raise RuntimeError("a bug of the engine")

    monkeypatch.setattr(Attempts, "start", start)


@pytest.mark.parametrize("fault", [no_more_threads, no_attempt_starts])
def test_what_fails_after_a_commit_takes_no_acknowledgement_with_it(
    db: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
) -> None:
    async def main() -> list[object]:
        async with Engine(db, grace=0) as engine:
            with monkeypatch.context() as patch:
                fault(patch)
                return await asyncio.gather(
                    engine.submit(threaded, id="first"),
                    *(engine.submit(quick, 1, id=f"n-{n}") for n in range(3)),
                    return_exceptions=True,
                )

    _, *others = soon(main())
    assert [type(other) for other in others] == [Handle] * 3
    assert [kinds(read_log(db, f"n-{n}"))[-1] for n in range(3)] == ["finished"] * 3
