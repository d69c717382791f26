"""
An attempt in a child process: it can be killed, and takes nothing else down with it.

JSON goes in on the child's stdin; heartbeats and the outcome come back, a line of JSON
each, on a pipe of its own. What the child prints is printed here.
"""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from obelisk_ops import process
from obelisk_ops.core import failures
from obelisk_ops.core.events import Failure
from obelisk_ops.durable.flow.attempt import Attempt, unknown
from obelisk_ops.errors import ActivityFailed
from obelisk_ops.settings import environment

# Its first words put its module path in place: what this process can import, it can.
_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from obelisk_ops.durable.work.isolated_main import main; main(int(sys.argv[2]))"
)
_FAREWELL_S = 2.0
_CHUNK_BYTES = 65536


class Request(Struct, omit_defaults=True):
    """What the child is told: where the function is, and what to call it with."""

    module: str
    file: str
    qualname: str
    name: str
    call_id: str
    number: int
    input: Raw
    last_details: Raw | UnsetType = UNSET


class Word(Struct, omit_defaults=True):
    """What the child says: a heartbeat, or its outcome."""

    beat: Raw | UnsetType = UNSET
    ok: Raw | UnsetType = UNSET
    error: Failure | UnsetType = UNSET


def call(attempt: Attempt) -> bytes:
    """
    Run an attempt in a child process, and return its result as JSON. Blocks this thread.

    Raises:
        BaseException: What the function raised.
        ActivityFailed: The child ended without an outcome.
        OutcomeUnknown: The same, for at most once.
    """
    words, child_end = os.pipe()
    try:
        path = msgspec.json.encode(sys.path).decode()
        child = process.converse(
            [sys.executable, "-u", "-c", _BEGIN, path, str(child_end)],
            env=environment.whole(), keep=child_end,
        )  # fmt: skip
    except BaseException:
        os.close(words)
        raise
    finally:
        os.close(child_end)
    with _ending(child):
        attempt.kill = lambda: process.kill_group(child)
        if attempt.over:
            attempt.kill()
        _ask(child, attempt)
        outcome = _listen(child, words, attempt)
    return _result(outcome, child, attempt)


def _ask(child: process.Child, attempt: Attempt) -> None:
    function = attempt.function.function
    module = sys.modules.get(function.__module__)
    given = attempt.last_details
    request = Request(
        module=function.__module__,
        file=getattr(module, "__file__", None) or "",
        qualname=function.__qualname__,
        name=attempt.function.name,
        call_id=attempt.call_id,
        number=attempt.number,
        input=Raw(attempt.input),
        last_details=UNSET if given is None else Raw(given),
    )
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it was killed
        child.stdin.write(msgspec.json.encode(request))
        child.stdin.close()


def _listen(child: process.Child, words: int, attempt: Attempt) -> Word | None:
    """Hand on what the child prints until it has said its outcome, or cannot any more."""
    outcome: list[Word] = []

    def hear(line: bytes) -> None:
        word = msgspec.json.decode(line, type=Word)
        if word.beat is UNSET:
            outcome.append(word)
        elif not attempt.over:
            attempt.take_beat(bytes(word.beat))

    with os.fdopen(words, "rb", buffering=0) as pipe, selectors.DefaultSelector() as selector:
        assert child.stdout is not None
        assert child.stderr is not None
        selector.register(pipe, selectors.EVENT_READ, _lines(hear))
        selector.register(child.stdout, selectors.EVENT_READ, _printer(sys.stdout))
        selector.register(child.stderr, selectors.EVENT_READ, _printer(sys.stderr))
        while pipe in {key.fileobj for key in selector.get_map().values()}:
            _read(selector, None)
        while selector.get_map() and _read(selector, 0):
            pass  # what was printed before the outcome
    return outcome[0] if outcome else None


def _read(selector: selectors.BaseSelector, timeout_s: float | None) -> bool:
    ready = selector.select(timeout_s)
    for key, _ in ready:
        data = os.read(key.fd, _CHUNK_BYTES)
        key.data(data)
        if not data:
            selector.unregister(key.fileobj)
    return bool(ready)


def _lines(hear: Callable[[bytes], None]) -> Callable[[bytes], None]:
    rest = b""

    def take(data: bytes) -> None:
        nonlocal rest
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            hear(line)

    return take


def _printer(to: TextIO | None) -> Callable[[bytes], None]:
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def take(data: bytes) -> None:
        text = decoder.decode(data, final=not data)
        if text and to is not None:
            to.write(text)

    return take


@contextmanager
def _ending(child: process.Child) -> Iterator[None]:
    """Leave nothing of the child behind."""
    try:
        yield
        with suppress(subprocess.TimeoutExpired):
            child.wait(_FAREWELL_S)  # it may have something to tidy up
    finally:
        process.kill_group(child)
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def _result(outcome: Word | None, child: process.Child, attempt: Attempt) -> bytes:
    if outcome is None:
        what = f"the process of {attempt.function.name} {_how_it_ended(child.returncode)}"
        if attempt.function.activity_options.at_most_once:
            raise unknown(what, attempt.call_id)
        raise ActivityFailed(what)
    if outcome.error is not UNSET:
        error = failures.rebuild(outcome.error)
        error.add_note(f"In the child process:\n{outcome.error.traceback}")
        raise error
    assert outcome.ok is not UNSET
    return bytes(outcome.ok)


def _how_it_ended(status: Any) -> str:  # noqa: ANN401 - int, or None
    if isinstance(status, int) and status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status} and without an outcome"
