"""Forks, histories in files, and the rows that come of a log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import pytest
from msgspec import Raw

from obelisk_ops.core import bundle, events
from obelisk_ops.core.events import KINDS, Body, Event, Failure
from obelisk_ops.core.forking import default_id, fork
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import InboxItem, Result, State
from obelisk_ops.core.projection import rows_of
from obelisk_ops.errors import Conflict, InvalidInput

NONE = Raw(b"[]")


def history(
    *bodies: Body,
    inbox: Mapping[int, InboxItem] | None = None,
    id: str = "a",  # noqa: A002
) -> History:
    log = [Event(v, 100 * v, KINDS[type(b)], events.encode(b)) for v, b in enumerate(bodies)]
    return History(
        execution_id=id, function="m.f", parent_id="", events=tuple(log), inbox=inbox or {}
    )


CREATED = events.Created(fn="m.f", input=NONE)
CALL = events.Intended(n=2, fn="m.g", input=NONE, attempt=1)
OK = events.Returned(n=2, ok=NONE)
CHILD = events.ChildCreated(n=1, id="a/1", fn="m.c", input=NONE)
STUB = events.StubRequested(n=1, fn="m.s", input=NONE)
FAILURE = Failure(type="E", message="no")
END = events.Finished(ok=NONE)
PARKED = events.Parked(error=Failure(type="N", message="at version 1"))


def test_the_prefix_is_the_same_but_for_where_it_comes_from() -> None:
    origin = history(CREATED, CALL, OK, END)

    made = fork(origin, 3, "b")

    assert made.execution_id == "b"
    assert made.events[1:] == origin.events[1:3]
    assert msgspec.json.decode(made.events[0].body) == {
        "fn": "m.f", "in": [], "seed": "a", "forked_from": {"id": "a", "version": 3},
    }  # fmt: skip
    assert made.events[0].at == origin.events[0].at


def test_a_fork_of_a_fork_draws_from_the_same_seed() -> None:
    again = fork(fork(history(CREATED, CALL, OK, END), 3, "b"), 2, "c")

    assert again.created.seed == "a"
    assert again.created.forked_from == events.Origin(id="b", version=2)


@pytest.mark.parametrize("version", [-1, 0, 4, 5])
def test_a_version_that_cannot_be_forked_from(version: int) -> None:
    with pytest.raises(InvalidInput, match=f"version {version}") as caught:
        fork(history(CREATED, CALL, OK, END), version, "b")

    assert "to 3" in caught.value.hint


def test_a_parked_one_is_forked_from_before_that() -> None:
    made = fork(history(CREATED, CALL, OK, PARKED), 4, "b")

    assert [event.kind for event in made.events] == ["created", "intended", "returned"]


def item(kind: str, ref: int = 0, at: int = 0, body: str = "{}") -> InboxItem:
    return InboxItem(kind, ref, at, body)


ANSWERED = (CREATED, STUB, events.StubAnswered(n=1, seq=2), CALL)
ASIDE = (CREATED, STUB, events.SetAside(n=1, seq=1, error="no int"))
SIGNALLED = {1: item("signal", at=50), 2: item("stub", 1, at=150), 3: item("signal", at=250)}

TWICE = {1: item("stub", 1, at=150), 2: item("stub", 1, at=350)}


@pytest.mark.parametrize(
    ("origin", "version", "inbox"),
    [
        pytest.param(
            history(*ANSWERED, inbox=SIGNALLED), 3, {1: SIGNALLED[1], 2: SIGNALLED[2]},
            id="what came later did not come",
        ),
        pytest.param(
            history(*ANSWERED, inbox=SIGNALLED), 4, SIGNALLED, id="what had arrived by then",
        ),
        pytest.param(
            history(*ANSWERED, inbox=SIGNALLED), 2, {1: SIGNALLED[1], 2: SIGNALLED[2]},
            id="a stub that is answered later",
        ),
        pytest.param(history(CREATED, STUB), 2, {}, id="a stub without an answer"),
        pytest.param(
            history(*ASIDE, events.StubAnswered(n=1, seq=2), CALL, inbox=TWICE), 3, TWICE,
            id="a stub that is answered later, by what fits",
        ),
        pytest.param(
            history(*ASIDE, inbox={1: TWICE[1]}), 2, {}, id="a stub whose answer did not fit",
        ),
        pytest.param(
            history(CREATED, CHILD, events.ChildFinished(n=1, seq=1),
                    inbox={1: item("child", 1, 150)}),
            2, {1: item("child", 1, 150)}, id="a child that ends later",
        ),
        pytest.param(
            history(CREATED, STUB, CALL, inbox={1: item("stub", 1, 250)}), 3,
            {1: item("stub", 1, 250)}, id="an answer that the original was not told yet",
        ),
    ],
)  # fmt: skip
def test_what_has_arrived(origin: History, version: int, inbox: dict[int, InboxItem]) -> None:
    assert fork(origin, version, "b").inbox == inbox


def test_an_open_child_without_an_outcome_is_refused() -> None:
    with pytest.raises(Conflict, match="'a/1'") as caught:
        fork(history(CREATED, CALL, OK, CHILD, CALL), 5, "b")

    assert "from version 3" in caught.value.hint
    assert fork(history(CREATED, CALL, OK, CHILD, CALL), 3, "b").events[-1].kind == "returned"


@pytest.mark.parametrize(
    ("execution_id", "name"), [("a", "a.fork-3"), ("a/1", "a.1.fork-3"), ("a~2", "a.2.fork-3")]
)
def test_a_fork_has_a_name_by_itself(execution_id: str, name: str) -> None:
    assert default_id(execution_id, 3) == name


@pytest.mark.parametrize(
    ("bodies", "state", "result"),
    [
        ((CREATED,), State.PENDING, None),
        ((CREATED, CALL), State.PENDING, None),
        ((CREATED, CALL, PARKED), State.PARKED, None),
        ((CREATED, CALL, PARKED, events.Resumed()), State.PENDING, None),
        ((CREATED, events.Paused()), State.PAUSED, None),
        ((CREATED, events.Paused(), events.Unpaused()), State.PENDING, None),
        ((events.Created(fn="m.f", input=NONE, paused=True),), State.PAUSED, None),
        ((CREATED, END), State.FINISHED, Result.OK),
        (
            (CREATED, events.Finished(error=FAILURE, result="timed_out")),
            State.FINISHED, Result.TIMED_OUT,
        ),
        (
            (CREATED, events.Finished(error=FAILURE)),
            State.FINISHED, Result.ERROR,
        ),
    ],
)  # fmt: skip
def test_a_state_follows_from_a_log(
    bodies: tuple[Body, ...], state: State, result: Result | None
) -> None:
    [row] = rows_of(history(*bodies), 7).created

    assert (row.key, row.id, row.state, row.result) == (7, "a", state, result)
    assert (row.finished_at is not None) is (state is State.FINISHED)


def test_timers_follow_from_a_log() -> None:
    limited = events.Created(fn="m.f", input=NONE, timeout=5000)
    waiting = (
        events.TimerSet(n=1, wait=9, until=900),
        events.TimerSet(n=2, wait=9, until=901),
        events.TimerFired(n=1, seq=1),
        events.SignalAwaited(n=3, name="s", wait=1, until=902),
        events.SignalAwaited(n=4, name="s"),
    )
    assert (7, 0, 5100) in rows_of(history(limited, *waiting), 7).timers
    late = events.Created(fn="m.f", input=NONE, start_at=77)

    forked = msgspec.structs.replace(limited, forked_from=events.Origin(id="o", version=5))
    again = replace(history(forked, *waiting), created_at=10)

    assert list(rows_of(again, 7).timers) == [(7, 2, 901), (7, 3, 902), (7, 0, 5010)]
    assert list(rows_of(history(late), 7).timers) == [(7, -1, 77)]
    assert list(rows_of(history(limited, *waiting, END), 7).timers) == []


def test_a_child_knows_its_parent() -> None:
    [row] = rows_of(history(CREATED, id="a/3~2"), 9, parent=4).created

    assert (row.parent, row.parent_n) == (4, 3)


def test_histories_travel_in_one_file() -> None:
    whole = [
        history(CREATED, CHILD, CALL, inbox={1: item("signal", body='{"name":"x"}')}),
        history(CREATED, CALL, id="a/1"),
        history(CREATED, id="a/1/1"),
    ]

    text = bundle.to_json(whole)

    assert bundle.from_json(text) == whole
    assert bundle.from_json(msgspec.json.format(text)) == whole
    assert bundle.from_json(bundle.to_json(whole[:1])) == whole[:1]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format":"x"}', bundle.to_json([history(CREATED)])[:-2] + ',"children":3}'],
)
def test_what_is_no_history(text: str) -> None:
    with pytest.raises(InvalidInput):
        bundle.from_json(text)
