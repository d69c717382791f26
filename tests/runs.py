"""Logs of runs that nobody waited for: long ones, and ones of any shape."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from obelisk_ops.core.events import Event
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import InboxItem

#: a Tuesday morning, UTC milliseconds
BEGIN = 1_763_452_800_000
ERROR = {"type": "ConnectionError", "message": "the store is away", "traceback": "Traceback…"}

#: milliseconds after BEGIN, kind, body
Step = tuple[int, str, dict[str, Any]]


def history(
    steps: Iterable[Step],
    *,
    inbox: dict[int, InboxItem] | None = None,
    name: str = "e",
    given: object = (),
    **created: Any,
) -> History:
    """Return a history that begins with ``created`` and goes on with these steps."""
    first: Step = (0, "created", {"fn": "shop.sweep", "in": given} | created)
    events = [
        Event(version, BEGIN + after, kind, json.dumps(body))
        for version, (after, kind, body) in enumerate([first, *steps])
    ]
    return History(execution_id=name, function="shop.sweep", events=events, inbox=inbox or {})


def returns(n: int, begin: int, end: int, value: object, *, fn: str = "load") -> list[Step]:
    """Return the steps of an activity that returns at once."""
    return [
        (begin, "intended", {"n": n, "fn": f"shop.{fn}", "in": [n], "try": 1}),
        (end, "returned", {"n": n, "ok": value}),
    ]


def long_run(events: int, *, side_by_side: int = 20, seed: int = 1) -> History:
    """Return a run with so many events: batches of activities, some of which fail once."""
    steps: list[Step] = []
    now, n, random = 0, 0, Random(seed)
    while len(steps) < events - 2:
        batch = list(range(n + 1, n + 1 + side_by_side))
        n = batch[-1]
        made = [step for one in batch for step in _activity(one, now, random)]
        steps += sorted(made, key=lambda step: step[0])
        now = max(step[0] for step in made) + 200
    steps = _without_what_was_not_begun(steps[: events - 2])
    return history([*steps, (now, "finished", {"ok": n})], name="long")


def _activity(n: int, now: int, random: Random) -> Iterator[Step]:
    name = f"shop.{('load', 'train', 'score')[n % 3]}"
    begin = now + random.randrange(50)
    took = 20 + random.randrange(400)
    yield begin, "intended", {"n": n, "fn": name, "in": [{"page": n}], "try": 1}
    if random.random() < 0.05:
        again = begin + took + 300
        failed = {"n": n, "try": 1, "error": ERROR, "retry_at": BEGIN + again}
        yield begin + took, "attempt_failed", failed
        yield again, "attempt_started", {"n": n, "try": 2}
        begin = again
    yield begin + took, "returned", {"n": n, "ok": {"loss": 1 / n, "note": "as it should"}}


def _without_what_was_not_begun(steps: list[Step]) -> list[Step]:
    begun = {body["n"] for _, kind, body in steps if kind == "intended"}
    return [step for step in steps if step[2]["n"] in begun]
