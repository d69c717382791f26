"""Starting what exists already: the same request attaches, another one is refused."""

from __future__ import annotations

import msgspec

from obelisk_ops.core import events
from obelisk_ops.errors import ExecutionExists


def refuse_other_input(execution_id: str, known: str, asked: str) -> None:
    """
    Compare how an execution was created with how it is asked for again.

    Raises:
        ExecutionExists: Another function, or another input; the message says which.
    """
    old = msgspec.json.decode(known, type=events.Created)
    new = msgspec.json.decode(asked, type=events.Created)
    if old.fn != new.fn:
        what = f"runs {old.fn}, not {new.fn}"
    elif msgspec.json.decode(old.input) != msgspec.json.decode(new.input):
        what = f"has the input {_short(old.input)}, not {_short(new.input)}"
    else:
        return
    raise ExecutionExists(
        f"execution {execution_id!r} exists and {what}",
        hint="use another id, or the same input to attach to it",
    )


def _short(text: msgspec.Raw, limit: int = 120) -> str:
    shown = bytes(text).decode(errors="replace")
    return shown if len(shown) <= limit else shown[:limit] + "…"
