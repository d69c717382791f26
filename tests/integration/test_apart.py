"""Work in a child process with limits: it may crash, spin, grow, and harms nobody."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from obelisk_ops.errors import (
    CorruptDatabase,
    LimitExceeded,
    OpsError,
    ReaderCrashed,
    Unavailable,
)
from obelisk_ops.inspect.apart import read_apart
from obelisk_ops.process import apart
from obelisk_ops.process.apart import Cause, Death, Limits, Say, answers, death_of
from obelisk_ops.search.crew import Crew
from tests.support import crash_here

pytestmark = pytest.mark.fault(34)

NAMES = msgspec.json.Decoder(list[str])
MANY = Limits(time_s=30, memory_bytes=64 << 20, answer_bytes=1 << 20)


def spin() -> None:
    while True:
        pass


def grow() -> None:
    bytearray(1 << 30)


def told(work: Callable[[Say], None], limits: Limits = MANY) -> list[bytes]:
    with answers(work, limits) as given:
        return list(iter(lambda: given.next(120), None))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Limits that come to an end within a test."""
    monkeypatch.setattr(apart, "GRACE_S", 0.0)
    return Limits(time_s=1, memory_bytes=64 << 20)


def test_what_is_said_arrives_in_order_whatever_its_length() -> None:
    said = [b"", b"a", b"x" * 1_000_000, b"\0"]

    def work(say: Say) -> None:
        for one in said:
            say(one)

    assert told(work) == said


@pytest.fixture
def many_files() -> Iterator[None]:
    """More open files than ``select`` can tell apart, as a supervisor of many has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, before[1]))
    held = [os.open(os.devnull, os.O_RDONLY)]
    while held[-1] < 1024:
        held.append(os.dup(held[0]))
    yield
    for file in held:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_its_parent_may_have_many_files_open() -> None:
    assert told(lambda say: say(b"a")) == [b"a"]


DEATHS: dict[str, tuple[Callable[[], None], Cause]] = {
    "crashes": (crash_here, Cause.CRASH),
    "takes memory": (grow, Cause.MEMORY),
    "is killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), Cause.MEMORY),
    "has a bug": (lambda: json.loads("no"), Cause.CRASH),
}


@pytest.mark.parametrize("name", DEATHS)
def test_of_what_a_child_died_is_told(name: str) -> None:
    kill, cause = DEATHS[name]
    if cause is Cause.MEMORY and sys.platform != "linux":
        cause = Cause.CRASH if name == "takes memory" else cause

    with pytest.raises(Death) as died:
        told(lambda _say: kill())

    assert died.value.cause is cause


def test_the_kernel_ends_what_spins(impatient: Limits) -> None:
    with pytest.raises(Death, match="processor time"):
        told(lambda _say: spin(), impatient)


def test_what_hangs_is_given_up(impatient: Limits) -> None:
    with (
        pytest.raises(Death) as died,
        answers(lambda _say: signal.pause(), impatient) as given,
    ):
        given.next(0.05)

    assert died.value.cause is Cause.TIME


def test_an_answer_without_end_is_not_kept() -> None:
    with pytest.raises(Death) as died:
        told(lambda say: say(b"x" * (MANY.answer_bytes + 1)))

    assert died.value.cause is Cause.ANSWER


def test_a_child_can_write_nothing_and_gain_nothing(tmp_path: Path) -> None:
    def work(say: Say) -> None:
        sys.stdout.write("never seen")
        try:
            (tmp_path / "file").write_text("text")
        except OSError as error:
            say(str(error.errno).encode())
        say(str(resource.getrlimit(resource.RLIMIT_CORE)).encode())
        if sys.platform == "linux":
            say(next(x for x in Path("/proc/self/status").read_text().splitlines()
                     if x.startswith("NoNewPrivs")).encode())  # fmt: skip

    assert told(work)[:2] == [str(errno.EFBIG).encode(), b"(0, 0)"]
    assert told(work)[2:] == ([b"NoNewPrivs:\t1"] if sys.platform == "linux" else [])


def test_a_child_is_gone_when_nobody_listens_any_more() -> None:
    with answers(lambda say: (say(str(os.getpid()).encode()), spin())[0], MANY) as given:  # type: ignore[func-returns-value]
        child = int(given.next() or 0)
        os.kill(child, 0)

    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_that_no_process_can_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    files = len([*Path("/dev/fd").iterdir()])

    with pytest.raises(Unavailable, match="no process can be started"):
        told(lambda _say: None)
    with pytest.raises(Unavailable, match="no process can be started"):
        apart.in_front(lambda: 0, MANY)

    assert len([*Path("/dev/fd").iterdir()]) == files
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


IN_FRONT = """
import signal
from obelisk_ops.process.apart import Limits, in_front

def work():
    try:
        print("it works", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        return 7

raise SystemExit(in_front(work, Limits(time_s=60)))
"""


@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_an_interrupt_reaches_the_child_whoever_it_was_for(
    send: Callable[[int, int], None],
) -> None:
    """Without a terminal: a script, or a machine that runs tests, has sent it."""
    argv = [sys.executable, "-c", IN_FRONT]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"it works\n"
        send(parent.pid, signal.SIGINT)

        assert parent.wait(timeout=120) == 7


def test_what_is_read_and_what_is_raised_comes_back() -> None:
    def refuse() -> list[str]:
        raise CorruptDatabase("it is damaged", hint="restore it")

    read = read_apart(lambda: ["a", "ü"], NAMES, name="x.db", limits=MANY)
    with pytest.raises(CorruptDatabase, match="it is damaged") as raised:
        read_apart(refuse, NAMES, name="x.db", limits=MANY)

    assert read == ["a", "ü"]
    assert raised.value.hint == "restore it"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


def test_a_crash_is_one_error_that_names_the_database() -> None:
    def read() -> list[str]:
        crash_here()
        return []

    with pytest.raises(ReaderCrashed, match=r"read x\.db crashed \(SIGSEGV\)"):
        read_apart(read, NAMES, name="x.db", limits=MANY)


STATUSES = [
    (0, None), (10, None), (-signal.SIGSEGV, Cause.CRASH), (-signal.SIGABRT, Cause.CRASH),
    (-signal.SIGXCPU, Cause.TIME), (-signal.SIGKILL, Cause.MEMORY),
]  # fmt: skip


@pytest.mark.parametrize(("status", "cause"), STATUSES)
def test_what_an_exit_code_says(status: int, cause: Cause | None) -> None:
    death = death_of(status)

    assert (death and death.cause) == cause


def crew(guilty: dict[str, Callable[[], None]], one_s: float = 20) -> Iterator[str]:
    """Read thirty items, of which some are guilty, and tell how each came out."""

    def read(item: str) -> list[str]:
        guilty.get(item, lambda: None)()
        return [item]

    items = {f"item-{n}": f"item-{n}" for n in range(30)}
    for item, outcome in Crew(lambda: read, NAMES, one_s=one_s).read(items):
        yield item if outcome == [item] else f"{item}: {type(outcome).__name__}"


def test_of_many_only_the_guilty_are_given_up() -> None:
    def refuse() -> None:
        raise CorruptDatabase("it is damaged")

    found = sorted(crew({"item-3": crash_here, "item-14": refuse, "item-29": crash_here}))

    wrong = {
        "item-3": ReaderCrashed, "item-14": CorruptDatabase, "item-29": ReaderCrashed
    }  # fmt: skip
    names = [f"item-{n}" for n in range(30)]
    assert found == sorted(f"{n}: {wrong[n].__name__}" if n in wrong else n for n in names)


@pytest.mark.skipif(sys.platform != "linux", reason="not on this platform: limits of memory")
def test_who_takes_the_memory_of_many_is_found() -> None:
    def take() -> None:
        bytearray(5 << 30)

    assert {one for one in crew({"item-7": take}) if ":" in one} == {
        f"item-7: {LimitExceeded.__name__}"
    }


def test_who_hangs_among_many_is_found(impatient: Limits) -> None:
    found = list(crew({"item-7": signal.pause}, one_s=3 * impatient.time_s))

    assert len(found) == 30
    assert [one for one in found if ":" in one] == [f"item-7: {LimitExceeded.__name__}"]


def test_what_the_bucket_refuses_ends_the_reading() -> None:
    def away() -> None:
        raise OpsError("the bucket is away")

    assert "item-0: OpsError" in list(crew({"item-0": away}))
