"""
Errors on disk and back.

The workflow's ``except CardDeclined`` must work live and on replay alike, so in
both cases the exception is rebuilt from what was recorded: as its own class
when that class is loaded (a workflow that names it has loaded it), else as
ActivityFailed with the same text. Nothing is ever imported or unpickled here.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator

import msgspec

from obelisk_ops.core import names, values
from obelisk_ops.core.events import Failure
from obelisk_ops.errors import ActivityFailed, NotSerialisable, OpsError

_TRACEBACK_CHARS = 8000
#: where an error of another process keeps how it was described there
_TOLD = "_obelisk_ops_told"


def record(error: BaseException) -> Failure:
    """Describe *error* for the log."""
    told: Failure | None = getattr(error, _TOLD, None)
    if told is not None:
        return told
    kind = type(error)
    text = "".join(traceback.format_exception(error))
    failure = Failure(
        type=names.known_as(kind).removeprefix("builtins."),
        message=_writable(_text(error)),
        traceback=_writable(text[-_TRACEBACK_CHARS:]),
        hint=error.hint if isinstance(error, OpsError) else "",
    )
    with contextlib.suppress(NotSerialisable):
        failure.args = msgspec.Raw(values.to_json(list(error.args)))
    return failure


def retell(failure: Failure) -> BaseException:
    """Return the error of another process; recorded here it is as it was there."""
    error = rebuild(failure)
    with contextlib.suppress(AttributeError):  # a class that takes no more attributes
        setattr(error, _TOLD, failure)
    return error


def rebuild(failure: Failure) -> BaseException:
    """Return an exception to raise where the failed call was awaited."""
    told = ActivityFailed(failure.message, error_type=failure.type)
    original = _original(failure)
    if original is None:
        return told
    original.__cause__ = told
    return original


def _original(failure: Failure) -> Exception | None:
    kind = names.find(failure.type)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return None
    for make in _ways(kind, failure):
        # A constructor may want other parameters than it passed on: then it is left out.
        with contextlib.suppress(Exception):
            made = make()
            if _text(made) == failure.message:
                if isinstance(made, OpsError):
                    made.hint = failure.hint
                return made
    return None


def _ways(kind: type[Exception], failure: Failure) -> Iterator[Callable[[], Exception]]:
    if failure.args:
        args = msgspec.json.decode(failure.args)
        yield lambda: kind(*args)
        yield lambda: kind.__new__(kind, *args)
    yield lambda: kind(failure.message)
    yield lambda: kind.__new__(kind, failure.message)


def _text(error: BaseException) -> str:
    try:
        return error.message if isinstance(error, OpsError) else str(error)
    except Exception:  # noqa: BLE001 - its own code is at fault; the failure is recorded all the same
        return f"a {type(error).__qualname__} that cannot be shown as text"


def _writable(text: str) -> str:
    """Return *text* without lone surrogates, as in names of files that are not UTF-8."""
    return text.encode(errors="backslashreplace").decode()
