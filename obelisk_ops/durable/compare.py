"""The determinism check: is what the code asks for what its log says it asked for?"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from obelisk_ops.core.events import (
    KINDS,
    Body,
    Cancelled,
    ChildCreated,
    Event,
    Finished,
    Intended,
    TimerSet,
)
from obelisk_ops.errors import Nondeterminism


def same(recorded: Any, wanted: Any) -> bool:  # noqa: ANN401 - two bodies of one kind
    """Return whether a command on record is the one that the code asks for."""
    match recorded:
        case TimerSet():
            return (recorded.n, recorded.wait, recorded.set) == (
                wanted.n,
                wanted.wait,
                wanted.set,
            )
        case Intended() | ChildCreated():
            return (
                (recorded.n, recorded.fn, recorded.set) == (wanted.n, wanted.fn, wanted.set)
                and _same_json(recorded.input, wanted.input)
            )  # fmt: skip
        case Cancelled():
            return bool(recorded.n == wanted.n)
        case _:
            return bool(recorded == wanted)


def describe(body: Any) -> str:  # noqa: ANN401 - any body
    """Say in words what an event is, for an error message."""
    match body:
        case Intended() | ChildCreated():
            what = "activity" if isinstance(body, Intended) else "child workflow"
            arguments = bytes(body.input).decode(errors="replace")[1:-1]
            return f"call {body.n}, {what} {body.fn}({arguments[:200]})"
        case TimerSet():
            return f"call {body.n}, sleep of {body.wait / 1000:g} s"
        case Cancelled():
            return f"the cancelling of call {body.n}"
        case Finished():
            return "the end of the workflow"
        case _:
            pass
    return f"'{KINDS[type(body)]}'" + (f" of call {body.n}" if hasattr(body, "n") else "")


def does_not_fit(execution_id: str, event: Event, body: Body, instead: str) -> Nondeterminism:
    """Return the error for code that does *instead* of what its log has."""
    return Nondeterminism(
        f"execution {execution_id!r}: at version {event.version} the log has "
        f"{describe(body)}, but the code {instead}",
        hint="undo the change of the workflow's code, or start a new execution; "
        "nothing of this one is lost",
    )


def _same_json(one: Raw, other: Raw) -> bool:
    left, right = bytes(one), bytes(other)
    return left == right or msgspec.json.decode(left) == msgspec.json.decode(right)
