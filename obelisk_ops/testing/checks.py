"""Assertions on logs, whose failures show where a log is different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Protocol, TypeAlias

import msgspec

from obelisk_ops.core.events import BODIES, Event
from obelisk_ops.core.fold import fold


class HasEvents(Protocol):
    """A handle, or a history."""

    def events(self) -> list[Event]:
        """Return the log."""
        ...


Expected: TypeAlias = "str | tuple[str, Mapping[str, Any]] | EllipsisType"
"""A kind; a kind and some fields of its body; ``...`` for any events, or none."""


@dataclass(frozen=True, slots=True)
class ActivityCall:
    """
    One call of an activity, as the log has it.

    Attributes:
        name: The activity.
        args: Its arguments, as JSON values.
        attempts: How many were started.
        outcome: ``ok``, ``error``, ``cancelled``, or None while it is open.
    """

    name: str
    args: tuple[Any, ...]
    attempts: int
    outcome: str | None


def activities_called(of: HasEvents | Iterable[Event]) -> list[str]:
    """Return the names of the activities that were called, without their modules."""
    return [call.name.rpartition(".")[2] for call in activity_calls(of)]


def activity_calls(of: HasEvents | Iterable[Event]) -> list[ActivityCall]:
    """Return the calls of activities, in the order in which the code made them."""
    log = _log(of)
    inputs = {
        body["n"]: body["in"]
        for event in log
        if event.kind == "intended" and (body := msgspec.json.decode(event.body))
    }
    return [
        ActivityCall(call.function or "", tuple(inputs[n]), call.attempts, call.outcome)
        for n, call in sorted(fold(log).calls.items())
        if call.kind == "activity"
    ]


def assert_events(of: HasEvents | Iterable[Event], expected: Sequence[Expected]) -> None:
    """
    Check a whole log against what is expected.

    ``assert_events(handle, ["created", ("intended", {"fn": "shop.charge"}), ..., "finished"])``

    Args:
        of: A handle, or events.
        expected: For each event its kind, or its kind and some fields of its body; ``...``
            stands for any number of events.

    Raises:
        AssertionError: The log is different; the message shows both, and where.
        ValueError: There is no such kind of event.
    """
    __tracebackhide__ = True
    for one in expected:
        kind = one if isinstance(one, str) else one[0] if isinstance(one, tuple) else None
        if kind is not None and kind not in BODIES:
            raise ValueError(f"{kind!r} is no kind of event; there are {', '.join(BODIES)}")
    log = _log(of)
    fitting = _longest_fit(log, expected)
    if fitting is not None:
        raise AssertionError(_difference(log, expected, *fitting))


def _log(of: HasEvents | Iterable[Event]) -> list[Event]:
    found: Any = getattr(of, "events", of)
    return list(found() if callable(found) else found)


def _longest_fit(log: list[Event], expected: Sequence[Expected]) -> tuple[int, int] | None:
    """Return None if all fits; else how many events, and of what is expected, do."""
    furthest = (0, 0)
    todo = [(0, 0)]
    seen = set()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        furthest = max(furthest, place)
        at, wanted = place
        if at == len(log) and wanted == len(expected):
            return None
        if wanted < len(expected) and expected[wanted] is ...:
            todo += [(at, wanted + 1), *([(at + 1, wanted)] if at < len(log) else [])]
        elif at < len(log) and wanted < len(expected) and _fits(log[at], expected[wanted]):
            todo.append((at + 1, wanted + 1))
    return furthest


def _fits(event: Event, expected: Expected) -> bool:
    if isinstance(expected, tuple):
        kind, fields = expected
        body = msgspec.json.decode(event.body)
        return event.kind == kind and all(
            name in body and body[name] == value for name, value in fields.items()
        )
    return event.kind == expected


def _difference(log: list[Event], expected: Sequence[Expected], good: int, met: int) -> str:
    lines = [f"    v{event.version} {event.kind}" for event in log[:good]]
    found = log[good] if good < len(log) else None
    wanted = _words(expected[met]) if met < len(expected) else "no more events"
    lines.append(f"  - {wanted}")
    lines.append(
        f"  + v{found.version} {found.kind} {found.body}" if found else "  + (the end)"
    )
    lines += [f"    v{event.version} {event.kind}" for event in log[good + 1 :]]
    return "the log is not as expected (-: expected, +: found)\n" + "\n".join(lines)


def _words(expected: Expected) -> str:
    if expected is ...:
        return "…"
    if isinstance(expected, tuple):
        fields = msgspec.json.encode(expected[1], enc_hook=repr).decode()
        return f"{expected[0]} with {fields}"
    return str(expected)
