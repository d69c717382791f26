"""
Log lines of workflow code: each once, after the commit of the turn that made it.

Workflow code runs again on every replay, and its turn may never become durable. So what
it logs is held until the commit, and dropped on replay. A line is lost when the process
dies between the commit and the line: at most once.

``logging`` has one class of loggers in a process, so the hook is one for all engines. It
is there while at least one of them is open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Protocol, cast

from obelisk_ops.durable.flow.functions import driver
from obelisk_ops.durable.log import log

#: what the engine says while it works for a workflow is no line of the workflow
_ENGINE = "obelisk_ops.engine"
_PLAIN = (str, int, float, bool, bytes, type(None))

#: a line on its way out; called after the commit
Line = Callable[[], None]


class Holder(Protocol):
    """The machine whose code made a line."""

    id: str

    def hold_line(self, line: Line) -> None:
        """Let *line* out when the turn is durable, or never."""
        ...


class Hook:
    """Stands before ``Logger.callHandlers`` while somebody wants it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._wanted = 0
        self._original: Any = None

    def add(self) -> None:
        """Hold lines from now on."""
        with self._lock:
            self._wanted += 1
            present = logging.Logger.callHandlers
            if self._original is None or present is self._original:
                self._original = present
                ours = self._over(present)
                logging.Logger.callHandlers = ours  # type: ignore[method-assign]

    def remove(self) -> None:
        """Undo one ``add``; with the last one ``logging`` is as it was."""
        with self._lock:
            self._wanted -= 1
            ours = getattr(logging.Logger.callHandlers, "hook", None) is self
            # Somebody may have put another one over ours: then ours stays, and lets pass.
            if not self._wanted and ours:
                logging.Logger.callHandlers = self._original  # type: ignore[method-assign]
                self._original = None

    @contextmanager
    def dropping(self) -> Iterator[None]:
        """Let no line out of code that is only replayed, where no engine is open."""
        self.add()
        try:
            yield
        finally:
            self.remove()

    def _over(self, original: Any) -> Any:  # noqa: ANN401 - a function with an attribute
        # It knows what it stands before: a thread may still be in it when it is taken away.
        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            holder = driver.get()
            if holder is None or not self._wanted or logger.name == _ENGINE:
                original(logger, record)
            else:
                _hold(cast("Holder", holder), logger, record)

        call_handlers.hook = self  # type: ignore[attr-defined]
        return call_handlers


hook = Hook()


def _hold(holder: Holder, logger: logging.Logger, record: logging.LogRecord) -> None:
    if not hasattr(record, "execution_id"):
        record.execution_id = holder.id
    if not _is_plain(record.args):
        # What the arguments are now is meant, not what becomes of them until the commit.
        with suppress(Exception):  # those that do not fit are the handlers' business
            record.msg, record.args = record.getMessage(), None

    def line() -> None:
        try:
            logger.callHandlers(record)
        except Exception as error:  # noqa: BLE001 - it must not stop what was committed
            log.warning("line_not_written", logger=logger.name, error=str(error))

    holder.hold_line(line)


def _is_plain(args: object) -> bool:
    values = args.values() if isinstance(args, dict) else args or ()
    return all(type(value) in _PLAIN for value in cast("tuple[object, ...]", values))
