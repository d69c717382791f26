"""Storage that fails: one clear error, nothing acknowledged, nothing done twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, activity, run, storage, workflow
from obelisk_ops.core.ports import Write
from obelisk_ops.errors import (
    ConfigError,
    CorruptDatabase,
    DatabaseLocked,
    DatabaseNotFound,
    ForeignDatabase,
    OpsError,
    StorageUnavailable,
    UsageError,
)
from obelisk_ops.storage import open_mailbox, open_reader, open_store
from obelisk_ops.storage.sqlite import beside
from tests.engines import bodies, kinds, read_log, until
from tests.support import PATIENCE_S

FULL = StorageUnavailable("the disk is full", hint="free some space")


@activity
async def act(n: int) -> int:
    ran.append(n)
    return n


ran: list[int] = []


@workflow
async def flow(count: int) -> int:
    return sum([await act(n) for n in range(count)])


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


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
def faulty(db: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Faulty]:
    """The store of the next engine, once it is running."""
    made: list[Faulty] = []

    def make(path: Path) -> Faulty:
        made.append(Faulty(path))
        return made[-1]

    monkeypatch.setattr(storage, "open_store", make)
    return lambda: made[-1]


@pytest.mark.behaviour("O08")
def test_while_commits_fail_nobody_is_told_anything(
    db: Path, faulty: Callable[[], Faulty]
) -> None:
    async def main() -> int:
        async with Engine(db) as engine:
            faulty().refuses = FULL
            submitting = asyncio.create_task(engine.submit(flow, 3, id="f"))
            await until(lambda: faulty().refused >= 2, "the commit is tried again")
            assert not submitting.done()
            assert ran == []
            faulty().refuses = None
            return await (await submitting).result()

    assert asyncio.run(main()) == 3
    assert ran == [0, 1, 2]
    assert bodies(read_log(db, "f"), "attempt_started") == []


def test_a_failure_in_the_middle_repeats_no_activity(
    db: Path, faulty: Callable[[], Faulty]
) -> None:
    @activity
    async def breaks(n: int) -> int:
        ran.append(n)
        faulty().refuses = FULL
        return n

    @workflow
    async def fragile() -> int:
        return await act(1) + await breaks(2) + await act(3)

    async def main() -> int:
        async with Engine(db) as engine:
            handle = await engine.submit(fragile, id="f")
            await until(lambda: faulty().refused >= 2, "the commit is tried again")
            assert ran == [1, 2]
            faulty().refuses = None
            return await handle.result()

    assert asyncio.run(main()) == 6
    assert ran == [1, 2, 3]


@pytest.mark.parametrize("error", [FULL, CorruptDatabase("torn")], ids=["too long", "for good"])
def test_when_it_does_not_end_everybody_is_told(
    db: Path, faulty: Callable[[], Faulty], error: OpsError
) -> None:
    async def main() -> None:
        async with Engine(db, storage_timeout=0.3, grace=0) as engine:
            waits = await engine.submit(_blocked, id="waits")
            waiting = asyncio.create_task(waits.result())
            await asyncio.sleep(0.01)
            faulty().refuses = error
            with pytest.raises(type(error)):
                await engine.submit(flow, 1, id="f")
            with pytest.raises(type(error)):
                await waiting
            with pytest.raises(type(error)):  # and everybody who comes later
                await asyncio.wait_for(engine.submit(flow, 1, id="g"), PATIENCE_S)
            with pytest.raises(type(error)):
                await asyncio.wait_for(waits.result(), PATIENCE_S)
            with pytest.raises(type(error)):  # a worker ends
                await asyncio.wait_for(engine.failed(), PATIENCE_S)
            faulty().refuses = None
        assert ran == []

    asyncio.run(main())
    assert run(flow, 1, db=db, id="f") == 0


def test_what_is_not_durable_when_leaving_is_told(
    db: Path, faulty: Callable[[], Faulty]
) -> None:
    async def main() -> None:
        async with Engine(db, grace=0) as engine:
            faulty().refuses = FULL
            asking = asyncio.create_task(engine.submit(flow, 1, id="f"))
            await until(lambda: faulty().refused, "the commit fails")
        with pytest.raises(StorageUnavailable, match="closed before"):
            await asyncio.wait_for(asking, PATIENCE_S)

    asyncio.run(main())


@workflow
async def _blocked() -> None:
    from obelisk_ops import sleep  # noqa: PLC0415 - a workflow of this test alone

    await sleep(60)


@contextmanager
def small_disk(kilobytes: int) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)],
        check=False, capture_output=True,
    )  # fmt: skip
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("not on this platform: a small disk can only be mounted by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.behaviour("P56")
def test_a_full_disk_is_waited_for() -> None:
    with small_disk(1024) as disk:
        db, ballast = disk / "runs.db", disk / "ballast"

        async def main() -> int:
            async with Engine(db) as engine:
                handle = await engine.submit(flow, 200, id="f")
                await until(lambda: len(ran) > 10, "some steps")
                fill(ballast)
                await asyncio.sleep(0.4)
                done = len(ran)
                await asyncio.sleep(0.3)
                assert len(ran) == done, "it goes on without a disk"
                ballast.unlink()
                return await handle.result()

        assert asyncio.run(main()) == sum(range(200))
        assert ran == list(range(200))
        assert kinds(read_log(db, "f"))[-1] == "finished"


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 256, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue


@pytest.mark.behaviour("O15")
def test_a_second_owner_is_refused(db: Path) -> None:
    async def main() -> None:
        async with Engine(db):
            with pytest.raises(DatabaseLocked, match=f"pid {os.getpid()}") as caught:
                async with Engine(db):
                    pass
            assert caught.value.exit_status == 9

    asyncio.run(main())
    asyncio.run(_submit(db))


async def _submit(db: Path) -> None:
    async with Engine(db) as engine:
        await (await engine.submit(flow, 1, id="f")).result()


@pytest.mark.behaviour("O57", "P56")
def test_a_damaged_file_is_refused_and_left_as_it_is(db: Path) -> None:
    run(flow, 300, db=db, id="f")
    whole = bytearray(db.read_bytes())
    for page in range(4, len(whole) // 1024, 3):
        whole[page * 1024 + 100 : page * 1024 + 600] = b"\xff" * 500
    db.write_bytes(bytes(whole))

    with pytest.raises(CorruptDatabase, match="is damaged") as caught:
        run(flow, 1, db=db, id="g")

    assert caught.value.exit_status == 10
    assert "restore" in caught.value.hint
    assert db.read_bytes() == bytes(whole)


def another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (key, value)")
        connection.commit()


def a_newer_version(path: Path) -> None:
    run(flow, 1, db=path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


REFUSED: list[tuple[str, Callable[[Path], object], type[OpsError], int, str]] = [
    ("another program's", another_program, ForeignDatabase, 2, "of another program"),
    ("a newer version's", a_newer_version, ConfigError, 3, "schema version 99"),
    ("a text", lambda path: path.write_text("notes\n" * 500), CorruptDatabase, 10, "no SQLite"),
    (
        "a folder",
        lambda path: path.mkdir(),
        StorageUnavailable,
        6,
        "is a folder, not a database",
    ),
]


@pytest.mark.parametrize(
    ("make", "error", "status", "said"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_a_file_that_is_not_ours_is_refused(
    db: Path, make: Callable[[Path], object], error: type[OpsError], status: int, said: str
) -> None:
    make(db)
    before = db.read_bytes() if db.is_file() else b""

    for attempt in (lambda: run(flow, 1, db=db), lambda: open_mailbox(db)):
        with pytest.raises(error, match=said) as caught:
            attempt()
        assert caught.value.exit_status == status

    assert (db.read_bytes() if db.is_file() else b"") == before


def test_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound):
        open_reader(tmp_path / "none.db")
    with pytest.raises(StorageUnavailable, match="folder"):
        run(flow, 1, db=tmp_path / "no" / "folder" / "runs.db")
    with pytest.raises(UsageError, match="mysql:// databases are not supported"):
        Engine("mysql://localhost/x")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Work in a folder of the world's, without root's right to write everywhere."""
    folder = Path(tempfile.mkdtemp(prefix="nobodys-"))
    folder.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o777)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("protected", ["file", "folder", "beside"])
@pytest.mark.behaviour("P56")
def test_what_must_not_be_written_is_said(protected: str) -> None:
    with as_nobody() as folder:
        db = folder / "runs.db"
        run(flow, 1, db=db, id="f")
        places = {"file": db, "folder": folder, "beside": beside.folder(db)}
        if protected == "folder":
            shutil.rmtree(beside.folder(db))
        if protected == "beside":
            (beside.folder(db) / "engine.lock").unlink()
        place = places[protected]
        mode = place.stat().st_mode
        if protected == "folder":
            os.seteuid(0) if os.getuid() == 0 else None
            place.chmod(0o555)
            os.seteuid(65534) if os.getuid() == 0 else None
        else:
            place.chmod(mode & 0o555)

        with pytest.raises(StorageUnavailable, match=r"written|made|opened") as caught:
            run(flow, 1, db=db, id="g")

        assert caught.value.exit_status == 6
