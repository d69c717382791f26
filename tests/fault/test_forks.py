"""Children that are forked beside threads: whatever those were at, the children get through."""

from __future__ import annotations

import importlib
import io
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Thread

import apsw
import pytest

from obelisk_ops.process.apart import Limits, Say, answers
from tests.support import wait_until

LOGGER = logging.getLogger("tests.forks")
#: Processor time; of waiting, too, and much more than an idle machine needs.
LIMITS = Limits(time_s=60)


class Stuck(io.StringIO):
    """A stream that a thread is just writing to, for as long as a test likes."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = Lock()
        self.entered = Event()
        self.lock.acquire()

    def write(self, text: str) -> int:
        self.entered.set()
        with self.lock:
            return super().write(text)


def reads(database: Path) -> Callable[[Say], None]:
    """Return what children do: log, import what was not yet, and read a database."""

    def work(say: Say) -> None:
        LOGGER.warning("a child begins")
        importlib.import_module("wave")
        with apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY) as connection:
            say(repr(connection.execute("SELECT count(*) FROM t").fetchall()).encode())

    return work


def answer(work: Callable[[Say], None]) -> bytes | None:
    with answers(work, LIMITS) as given:
        said = given.next()
        assert given.next() is None
    return said


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    connection.close()
    return path


@contextmanager
def logging_to(stream: io.TextIOBase) -> Iterator[None]:
    handler = logging.StreamHandler(stream)
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.propagate = True


def test_a_thread_that_is_just_writing_a_line_holds_up_no_child(database: Path) -> None:
    stuck = Stuck()
    with logging_to(stuck):
        writer = Thread(target=LOGGER.warning, args=("a line",))
        writer.start()
        wait_until(stuck.entered.is_set, 10, "it writes")
        said = answer(reads(database))
        stuck.lock.release()
        writer.join()

    assert said == b"[(1,)]"
    assert stuck.getvalue() == "a line\n", "of the child there is none"


@pytest.mark.parametrize(
    "forks",
    [pytest.param(5), pytest.param(300, marks=[pytest.mark.chaos, pytest.mark.timeout(900)])],
)
def test_threads_that_wait_for_a_bucket_hold_up_no_child(
    database: Path, tmp_path: Path, forks: int
) -> None:
    is_over = Event()

    def busy() -> None:
        while not is_over.is_set():
            with suppress(OSError):
                socket.getaddrinfo("localhost", 80)
            ssl.create_default_context()
            LOGGER.warning("something was asked")

    crew = [Thread(target=busy) for _ in range(8)]
    with (tmp_path / "log").open("w") as log, logging_to(log):
        for worker in crew:
            worker.start()
        try:
            said = {answer(reads(database)) for _ in range(forks)}
        finally:
            is_over.set()
            for worker in crew:
                worker.join()

    assert said == {b"[(1,)]"}
