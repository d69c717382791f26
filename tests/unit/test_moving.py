"""What an exported execution is when it arrives: going on, or paused; and what still runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.history import LIVE, MOVED, History, from_json, to_json
from obelisk_ops.core.moving import arrive, in_flight, is_held, is_torn
from obelisk_ops.core.ports import Beat, InboxItem, Output

CREATED = events.Created(fn="m.f", input=Raw(b"[]"))
STARTED = events.Intended(n=1, fn="m.a", input=Raw(b"[]"), attempt=1)
PAUSED, SEALED = events.Paused(), events.Paused(moved=True)
END = events.Finished(ok=Raw(b"1"))
LATER = 5000


def history(*bodies: Body, source: str = "") -> History:
    log = [
        Event(version, 100 + version, KINDS[type(body)], events.encode(body))
        for version, body in enumerate((CREATED, *bodies))
    ]
    return History(execution_id="a", function="m.f", events=log, source=source)


@pytest.mark.parametrize(
    ("bodies", "source", "added", "asked_to_resume", "asked_to_pause"),
    [
        ([STARTED], "", [], [], ["paused"]),
        ([STARTED], LIVE, ["paused"], [], ["paused"]),
        ([STARTED, PAUSED], "", [], [], []),
        ([STARTED, PAUSED], LIVE, [], [], []),
        ([STARTED, SEALED], MOVED, ["unpaused"], ["unpaused"], ["unpaused", "paused"]),
        ([STARTED, PAUSED, SEALED], MOVED, ["unpaused"], ["unpaused"], ["unpaused", "paused"]),
        # of one that was moved, once more: it goes on elsewhere by now
        ([STARTED, SEALED], "", ["unpaused", "paused"], ["unpaused"], ["unpaused", "paused"]),
        ([STARTED, SEALED, events.Unpaused()], "", [], [], ["paused"]),
        ([STARTED, END], LIVE, [], [], []),
    ],
)
def test_it_arrives(
    bodies: list[Body],
    source: str,
    added: list[str],
    asked_to_resume: list[str],
    asked_to_pause: list[str],
) -> None:
    exported = history(*bodies, source=source)

    for resume, paused, wanted in (
        (False, False, added), (True, False, asked_to_resume), (False, True, asked_to_pause),
    ):  # fmt: skip
        arrived = arrive(exported, LATER, resume=resume, paused=paused)

        assert arrived.events[: len(exported.events)] == tuple(exported.events)
        more = arrived.events[len(exported.events) :]
        assert [(e.kind, e.at, e.version) for e in more] == [
            (kind, LATER, len(exported.events) + i) for i, kind in enumerate(wanted)
        ]
        assert arrived.source == ""
        is_to_wait = wanted[-1:] == ["paused"] or (not wanted and bodies[-1] is PAUSED)
        assert is_held(arrived) is is_to_wait


def test_times_do_not_go_backwards() -> None:
    assert (
        arrive(history(SEALED, source=MOVED), 7, resume=False, paused=False).events[-1].at
        == 101
    )


def test_what_runs_and_what_has_ended_while_it_was_paused() -> None:
    running = history(STARTED, SEALED)
    ended = History(
        execution_id="b", function="m.f", events=running.events,
        inbox={1: InboxItem("result", 1, 200, '{"n":1,"ok":2}')},
    )  # fmt: skip

    assert [name for name, _ in in_flight([running, ended])] == ["a/1"]


CHILD = events.ChildCreated(n=1, id="a/1", fn="m.g", input=Raw(b"[]"))
TOLD = {1: InboxItem("child", 1, 200, '{"ok":1}')}
GONE_ON = events.Finished(ok=Raw(b"null"), continued="a/1~2")


@pytest.mark.parametrize(
    ("parent", "inbox", "children", "expected"),
    [
        ([CHILD], {}, {"a/1": [STARTED]}, False),
        ([CHILD], {}, {"a/1": [END]}, True),
        ([CHILD], TOLD, {"a/1": [END]}, False),
        ([CHILD, events.ChildFinished(n=1, seq=1)], TOLD, {"a/1": [END]}, False),
        ([CHILD, END], {}, {"a/1": [END]}, False),
        ([CHILD], {}, {"a/1": [GONE_ON], "a/1~2": [STARTED]}, False),
        ([CHILD], {}, {"a/1": [GONE_ON], "a/1~2": [END]}, True),
        ([CHILD], {}, {}, False),
    ],
)
def test_it_was_read_at_two_moments(
    parent: list[Body],
    inbox: Any,
    children: dict[str, list[Body]],
    expected: bool,  # noqa: FBT001
) -> None:
    family = [replace(history(*parent), inbox=inbox)]
    family += [
        replace(history(*bodies), execution_id=name) for name, bodies in children.items()
    ]

    assert is_torn(family) is expected


def test_all_that_is_known_is_written_and_read() -> None:
    whole = History(
        execution_id="a", function="m.f", events=tuple(history(STARTED).events),
        created_at=90, beats={1: Beat(1, 150, '{"at":7}')}, source=MOVED,
        outputs=(Output(1, 1, "stdout", 151, "x\x00y\n"), Output(1, 1, "cut", 152, "9")),
    )  # fmt: skip

    assert from_json(to_json(whole)) == whole
