"""Whether stdout takes what a command prints, and whose prints belong there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO, cast

#: 128 and SIGPIPE, as a shell sees it of programs that the signal ends
PIPE_CLOSED = 141


@contextmanager
def for_the_result() -> Iterator[None]:
    """Send what users' code prints in the block, and programs that it starts, to stderr."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(real, 1)
        os.close(real)


class Watched:
    """Stands for ``sys.stdout``, and notes why it did not take what was written to it."""

    def __init__(self, real: Any) -> None:  # noqa: ANN401 - whatever is there
        self.refusal: OSError | None = None
        self._real = real

    def write(self, text: str) -> int:
        """Hand it on."""
        with self._noted():
            written: int = self._real.write(text)
        return written

    def flush(self) -> None:
        """Hand it on."""
        with self._noted():
            self._real.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the real one
        return getattr(self._real, name)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is left would be complained about when the interpreter ends.
            self.refusal = self.refusal or error
            _drop(self._real)
            raise


@contextmanager
def watched() -> Iterator[Watched]:
    """Watch stdout while the block runs."""
    real = sys.stdout
    for number in (0, 1, 2):  # else a file that is opened next would get their numbers
        _fill(number)
    if sys.stderr is None:  # who closes it wants to hear nothing
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    watch = Watched(_unwritable() if real is None else real)
    sys.stdout = cast("TextIO", watch)
    try:
        yield watch
    finally:
        sys.stdout = real


def _fill(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # it gets the lowest number that is free


def _unwritable() -> TextIO:
    """Return what refuses to be written, for a stdout that was closed before the start."""
    nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return os.fdopen(nowhere, "w", closefd=False)


def _drop(stream: Any) -> None:  # noqa: ANN401 - whatever is there
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
