"""An execution as a document: what is written is read again, and what is damaged is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.history import FORMAT, History, from_json, history_of, to_json
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.errors import InvalidInput

NOON = 1_795_000_000_000


def log_of(*bodies: Body) -> list[Event]:
    return [
        Event(version, NOON + version, KINDS[type(body)], events.encode(body))
        for version, body in enumerate(bodies)
    ]


CREATED = events.Created(fn="m.flow", input=Raw(b'["te\\u00e9",1e3,12345678901234567890]'))
LOG = log_of(
    CREATED,
    events.TimerSet(n=1, wait=5, until=NOON + 5),
    events.TimerFired(n=1, seq=1),
    events.Finished(ok=Raw(b"null")),
)
INBOX = {1: InboxItem("timer", 1, NOON + 7, "{}")}
HISTORY = history_of("order-42", LOG, INBOX)


def document(**changed: Any) -> str:
    return json.dumps(json.loads(to_json(HISTORY)) | changed)


def test_what_is_written_is_read() -> None:
    assert from_json(to_json(HISTORY)) == HISTORY
    assert HISTORY.function == "m.flow"
    assert HISTORY.created == CREATED


def test_a_child_knows_its_parent() -> None:
    log = log_of(events.Created(fn="m.f", input=Raw(b"[]"), parent="order-42"))

    assert from_json(to_json(history_of("order-42/3", log, {}))).parent_id == "order-42"


@given(
    at=st.integers(0, 32_000_000_000_000),
    body=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
        | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
)  # fmt: skip
def test_nothing_changes_on_the_way(at: int, body: object) -> None:
    text = json.dumps(body, separators=(",", ":"))
    created = events.encode(events.Created(fn="m.f", input=Raw(f"[{text}]".encode())))
    history = History(
        execution_id="e", function="m.f", events=(Event(0, at, "created", created),),
        inbox={3: InboxItem("signal", 0, at, text)},
    )  # fmt: skip

    assert from_json(to_json(history)) == history


def test_each_event_has_a_line() -> None:
    lines = to_json(HISTORY).splitlines()

    assert sum('"version":' in line for line in lines) == len(LOG)
    assert json.loads(to_json(HISTORY))["events"][1] == {
        "version": 1, "at": "2026-11-18T11:06:40.001Z", "kind": "timer_set",
        "body": {"n": 1, "wait": 5, "until": NOON + 5},
    }  # fmt: skip


def test_it_may_be_laid_out_anew() -> None:
    text = json.dumps(json.loads(to_json(HISTORY)), indent=4)

    assert [e.kind for e in from_json(text).events] == [e.kind for e in LOG]
    assert "\n" not in from_json(text).events[0].body


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no history"),
        ("[]", "no history"),
        ('{"events": []}', "no history"),
        (document(format="obelisk-ops-history/99"), "history/99"),
        (document(events=[]), "created"),
        (document(events=json.loads(document())["events"][1:]), "0, 1, 2"),
        (
            document(
                events=[
                    json.loads(document())["events"][0],
                    {"version": 1, "at": "2026-11-18T11:06:40Z", "kind": "vowed", "body": {}},
                ]
            ),
            "'vowed'",
        ),
        (
            document(
                events=[
                    {"version": 0, "at": "2026-11-18T11:06:40Z", "kind": "created", "body": {}}
                ]
            ),
            "version 0, 'created'",
        ),
        (
            document(events=[{"version": 0, "at": "soon", "kind": "created", "body": {}}]),
            "a moment",
        ),
    ],
)
def test_what_is_no_history_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        from_json(text)


def test_the_format_is_pinned() -> None:
    """Files of today are read for ever."""
    assert FORMAT == "obelisk-ops-history/1"
