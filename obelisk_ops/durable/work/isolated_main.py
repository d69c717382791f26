"""The child's side of isolated.py: finds the function, calls it, says what came of it."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from obelisk_ops.core import failures, values
from obelisk_ops.durable.flow.attempt import current
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.loader import load_module, loading
from obelisk_ops.durable.work.isolated import Request, Word
from obelisk_ops.errors import FunctionNotFound


class ChildAttempt:
    """See CurrentAttempt."""

    def __init__(self, request: Request, pipe: int) -> None:
        self.number = request.number
        self.call_id = request.call_id
        given = request.last_details
        self.last_details: bytes | None = None if given is UNSET else bytes(given)
        self._pipe = pipe

    def beat(self, details: object) -> None:
        """See CurrentAttempt.beat. Who is not wanted any more is killed, not told."""
        self.say(Word(beat=Raw(values.to_json(details))))

    def say(self, word: Word) -> None:
        """Send one line to the parent."""
        line = msgspec.json.encode(word) + b"\n"
        while line:
            line = line[os.write(self._pipe, line) :]


def main(pipe: int) -> None:
    """Do what stdin asks for."""
    os.set_inheritable(pipe, False)  # noqa: FBT003
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    attempt = ChildAttempt(request, pipe)
    current.set(attempt)
    try:
        word = Word(ok=Raw(_call(request)))
    except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:  # noqa: BLE001
        word = Word(error=failures.record(error))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    attempt.say(word)
    os.close(pipe)


def _call(request: Request) -> bytes:
    function = _find(request)
    args, kwargs = function.codec.decode_input(bytes(request.input))
    return function.codec.encode_result(function.function(*args, **kwargs))


def _find(request: Request) -> Activity[Any, Any]:
    found: Any = _module(request)
    for part in request.qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Activity):
        return found
    raise FunctionNotFound(
        f"{request.module}.{request.qualname} is no activity in the child process",
        hint="with isolation='process' it stands at the top of a module, under its own name",
    )


def _module(request: Request) -> object:
    if request.module == "__main__":
        return load_module(request.file)
    try:
        with loading(request.module):
            return importlib.import_module(request.module)
    except ModuleNotFoundError:
        if not request.file or Path(request.file).stem != request.module:
            raise
        return load_module(request.file)
