"""What an execution waits for, by its log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.events import KINDS, Body, Event, Failure
from obelisk_ops.core.fold import fold
from obelisk_ops.core.ports import Beat, Result, State, StateRow
from obelisk_ops.core.why import Arrival, Reason, Situation, Surroundings, explain, unanswered

NONE = Raw(b"[]")
NOW = 1_000_000
CREATED = events.Created(fn="m.f", input=NONE)
HERE = Surroundings(name="runs.db", is_owned=True, now_ms=NOW)


def situation(*bodies: Body, id: str = "e", **facts: Any) -> Situation:  # noqa: A002
    """The bodies are a second apart, and the last one is a second ago."""
    first = NOW - 1000 * len(bodies)
    log = [
        Event(v, first + 1000 * v, KINDS[type(b)], events.encode(b))
        for v, b in enumerate(bodies)
    ]
    row = StateRow(
        key=1, id=id, function="m.f", created_at=first,
        **{"state": State.BLOCKED} | facts.pop("row", {}),
    )  # fmt: skip
    return Situation(row=row, story=fold(log), **facts)


def there(*found: tuple[str, str], at: int = 0) -> tuple[Arrival, ...]:
    return tuple(Arrival(kind=kind, name=name, at=at) for kind, name in found)


def intended(attempt: int = 1, queue: str = "") -> events.Intended:
    return events.Intended(n=1, fn="m.charge", input=NONE, attempt=attempt, queue=queue)


def failed(retry_at: int, kind: str = "ValueError") -> events.AttemptFailed:
    return events.AttemptFailed(
        n=1, attempt=1, error=Failure(type=kind, message="no"), retry_at=retry_at
    )


SIGNAL = events.SignalAwaited(n=1, name="approve")
ASIDE = events.SetAside(n=1, seq=1, error="no bool")


@pytest.mark.parametrize(
    ("asked", "kind", "text"),
    [
        (situation(CREATED, intended()), "activity",
         "activity m.charge: attempt 1 began 1s ago"),
        (situation(CREATED, intended(), beats={1: Beat(1, NOW - 300, "null")}), "activity",
         "activity m.charge: attempt 1 began 1s ago, last heartbeat 300ms ago"),
        (situation(CREATED, intended(), beats={1: Beat(1, NOW - 300, '{"epoch":3}')}),
         "activity", ("activity m.charge: attempt 1 began 1s ago, last heartbeat 300ms ago: "
                      '{"epoch":3}')),
        (situation(CREATED, intended(), failed(NOW), events.AttemptStarted(n=1, attempt=2),
                   beats={1: Beat(1, NOW - 300, f'"{"x" * 300}"')}), "activity",
         ("activity m.charge: attempt 2 began 1s ago, last heartbeat 300ms ago, of attempt 1: "
          f'"{"x" * 199}…')),
        (situation(CREATED, intended(), failed(NOW + 90_000)), "retry",
         ("activity m.charge: attempt 1 failed (ValueError: no); the next one in 1m30s "
         "(1970-01-01T00:18:10.000Z)")),
        (situation(CREATED, intended(0)), "slot",
         "activity m.charge: attempt 1 waits to start, in its queue"),
        (situation(CREATED, intended(0, "gpu")), "slot",
         "activity m.charge: attempt 1 waits to start, in queue 'gpu'"),
        (situation(CREATED, intended(), failed(NOW - 5, "m.ActivityTimedOut")), "slot",
         ("activity m.charge: attempt 2 waits to start, in its queue; the last "
         "one failed (m.ActivityTimedOut: no), and its thread may still run")),
        (situation(CREATED, events.TimerSet(n=1, wait=9, until=NOW + 3_600_000)), "timer",
         "a timer, fires in 1h (1970-01-01T01:16:40.000Z)"),
        (situation(CREATED, events.TimerSet(n=1, wait=9, until=NOW - 2000)), "timer",
         "a timer, due since 2s (1970-01-01T00:16:38.000Z)"),
        (situation(CREATED, SIGNAL), "signal", "signal 'approve'"),
        (situation(CREATED, events.SignalAwaited(n=1, name="approve", until=NOW + 60_000)),
         "signal", "signal 'approve'; given up in 1m (1970-01-01T00:17:40.000Z)"),
        (situation(CREATED, SIGNAL, arrived=there(("signal", "aprove"), ("timer", "9"))),
         "signal", "signal 'approve'; others have arrived: aprove"),
        (situation(CREATED, SIGNAL, ASIDE), "signal",
         "signal 'approve'; what came was set aside: no bool"),
        (situation(CREATED, SIGNAL, arrived=there(("signal", "approve"))), "signal",
         "signal 'approve'; one has arrived"),
        (situation(CREATED, events.StubRequested(n=1, fn="m.ask", input=NONE)), "stub",
         "a result from outside: m.ask, asked for 1s ago"),
        (situation(CREATED, events.StubRequested(n=1, fn="m.ask", input=NONE),
                   arrived=there(("stub", "1"))), "stub",
         "a result from outside: m.ask, asked for 1s ago; it has arrived"),
        (situation(CREATED, events.ChildCreated(n=1, id="e/1", fn="m.g", input=NONE)), "child",
         "child workflow e/1 (m.g)"),
        (situation(CREATED), "unbegun",
         "its code has not begun: a worker that serves it takes it up"),
        (situation(events.Created(fn="m.f", input=NONE, start_at=NOW + 1000)), "start",
         "begins in 1s (1970-01-01T00:16:41.000Z)"),
        (situation(events.Created(fn="m.f", input=NONE, paused=True)), "paused",
         "paused since 1970-01-01T00:16:39.000Z"),
        (situation(CREATED, events.Paused(moved=True)), "paused",
         "moved on 1970-01-01T00:16:39.000Z: it goes on in another database"),
        (situation(events.Created(fn="m.f", input=NONE, paused=True),
                   arrived=there(("signal", "a"), at=1) + there(("signal", "b"), at=NOW)),
         "paused", "paused since 1970-01-01T00:16:39.000Z; 1 arrived meanwhile"),
        (situation(CREATED, intended(), events.Returned(n=1, ok=NONE)), "code",
         "its code is to go on from where the log ends"),
        (situation(CREATED, row={"state": State.FINISHED, "result": Result.ERROR,
                                 "error": "E: no"}), "finished",
         "it waits for nothing: finished, error: E: no"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_one_reason(asked: Situation, kind: str, text: str) -> None:
    [reason] = explain(asked, HERE)

    assert (reason.kind, reason.text, reason.execution_id) == (kind, text, "e")


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (situation(CREATED, SIGNAL), "execution signal e approve JSON --db runs.db"),
        (
            situation(CREATED, events.StubRequested(n=4, fn="m.ask", input=NONE)),
            "execution stub e/4 JSON --db runs.db",
        ),
        (situation(CREATED, SIGNAL, events.Paused()), "execution unpause e --db runs.db"),
    ],
)
def test_the_way_out_is_named(asked: Situation, command: str) -> None:
    assert explain(asked, HERE)[0].command == f"obelisk-ops {command}"


@pytest.mark.parametrize("waits", [SIGNAL, events.StubRequested(n=4, fn="m.ask", input=NONE)])
def test_of_a_backup_nobody_is_sent_to_its_owner(waits: events.Body) -> None:
    backup = Surroundings(name="runs@latest", is_owned=None, now_ms=NOW)

    found = explain(situation(CREATED, waits, events.Paused()), backup)

    assert [reason.command for reason in found] == [None, None]


def test_where_another_machine_owns_it_no_worker_is_asked_for() -> None:
    there = Surroundings(name="runs.db", is_owned=False, now_ms=NOW, barred="another has it")

    reason = explain(situation(CREATED, intended(0)), there)[0]

    assert (reason.kind, reason.text, reason.command) == (
        "unowned", "nothing goes on here: another has it", "obelisk-ops status",
    )  # fmt: skip


@pytest.mark.parametrize("is_owned", [True, False])
@pytest.mark.parametrize("waits", [SIGNAL, events.StubRequested(n=4, fn="m.ask", input=NONE)])
def test_what_another_machine_owns_is_asked_for_nothing(
    waits: events.Body,
    is_owned: bool,  # noqa: FBT001
) -> None:
    lost = Surroundings(
        name="runs.db", is_owned=is_owned, now_ms=NOW, barred="another has it", is_lost=True
    )

    found = explain(situation(CREATED, waits, events.Paused()), lost)

    assert [(r.kind, r.command) for r in found] == [
        ("paused", None), ("unowned", "obelisk-ops status"), (found[-1].kind, None),
    ]  # fmt: skip


def kinds(reasons: list[Reason]) -> list[str]:
    return [reason.kind for reason in reasons]


def test_what_holds_it_up_comes_before_what_it_waits_for() -> None:
    told = Failure(type="Nondeterminism", message="at version 3 the log has …")
    parked = situation(CREATED, SIGNAL, events.Parked(error=told))
    cancelling = situation(CREATED, SIGNAL, events.CancelRequested(), intended())
    nobody = Surroundings(name="runs.db", is_owned=False, now_ms=NOW)
    others = Surroundings(
        name="runs.db", is_owned=True, unserved=frozenset({"m.f"}), now_ms=NOW
    )

    assert kinds(explain(parked, HERE)) == ["parked", "signal"]
    assert kinds(explain(cancelling, HERE)) == ["cancelling", "activity"]
    assert kinds(explain(situation(CREATED, SIGNAL), nobody)) == ["unowned", "signal"]
    assert kinds(explain(situation(CREATED, SIGNAL), others)) == ["unserved", "signal"]
    again = situation(CREATED, SIGNAL, events.Paused(), events.Unpaused())
    assert kinds(explain(again, HERE)) == ["signal"]


def test_an_owner_knows_more_than_the_log() -> None:
    asked = situation(CREATED, intended(0))
    told = Surroundings(
        name="runs.db", is_owned=True, now_ms=NOW, slots={(1, 1): "all threads are taken"}
    )

    [reason] = explain(asked, told)

    assert list(unanswered(asked)) == [(1, 1)]
    assert reason.text == ("activity m.charge: attempt 1 waits to start: all threads are taken")


def test_the_deepest_reason_comes_first_and_is_said_once() -> None:
    def parent(child: str) -> events.ChildCreated:
        return events.ChildCreated(n=1, id=child, fn="m.g", input=NONE)

    leaf = situation(CREATED, SIGNAL, id="e/1/1")
    middle = situation(CREATED, parent("e/1/1"), id="e/1", children={1: leaf})
    top = situation(CREATED, parent("e/1"), children={1: middle})
    nobody = Surroundings(name="runs.db", is_owned=False, now_ms=NOW)

    assert [(r.execution_id, r.kind) for r in explain(top, nobody)] == [
        ("e/1/1", "unowned"), ("e/1/1", "signal"), ("e/1", "child"), ("e", "child"),
    ]  # fmt: skip


@pytest.mark.parametrize("state", [State.RUNNING, State.FINISHED])
def test_what_waits_for_the_bucket_is_said_first(state: State) -> None:
    around = replace(HERE, held=frozenset({1}), trouble="S3 does not answer")
    asked = situation(CREATED, intended(), row={"state": state, "result": Result.OK})

    reasons = explain(asked, around)

    assert reasons[0].kind == "bucket"
    assert "until the bucket holds it: S3 does not answer" in reasons[0].text
    assert len(reasons) == 2
    assert explain(asked, replace(around, held=frozenset({2})))[0].kind != "bucket"
