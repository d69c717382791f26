"""When somebody is told, and how often."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from obelisk_ops.monitor.alerts import Alerts
from obelisk_ops.monitor.damping import (
    Case,
    Notice,
    Patience,
    Severity,
    clear_after_ms,
    severity,
    step,
)
from obelisk_ops.monitor.message import alert, encode
from obelisk_ops.settings import remember
from obelisk_ops.supervise.health import State
from obelisk_ops.supervise.status import Row

PATIENCE = Patience(after_ms=30_000, repeat_ms=3_600_000)
WORDS = {"o": Severity.NONE, "w": Severity.WARNING, "c": Severity.CRITICAL, ".": None}


def told(looks: str, every_ms: int = 10_000, patience: Patience = PATIENCE) -> list[str]:
    """Look once for each letter, and return what was told: the number of the look, and what."""
    case, heard = Case(), []
    for number, letter in enumerate(looks):
        now_ms = number * every_ms
        case, notice = step(case, WORDS[letter], now_ms=now_ms, patience=patience)
        if notice:
            heard.append(f"{number}:{_word(notice)}")
    return heard


def _word(notice: Notice) -> str:
    kind = "over" if notice.is_over else "again" if notice.is_repeat else notice.severity.word
    return f"{kind}@{notice.since_ms // 1000}"


@pytest.mark.parametrize(
    ("looks", "heard"),
    [
        pytest.param("oooooooo", [], id="well"),
        pytest.param("owwoowwooww", [], id="never for long enough"),
        pytest.param("owwwwwww", ["4:warning@10"], id="once"),
        pytest.param("owwwwoooooo", ["4:warning@10", "8:over@10"], id="and over, once"),
        pytest.param("owwwwoowwwooooo", ["4:warning@10", "13:over@10"], id="not yet over"),
        pytest.param("occcc", ["4:critical@10"], id="critical at once"),
        pytest.param("owwwwcccc", ["4:warning@10", "8:critical@50"], id="it gets worse"),
        pytest.param("owccwwww", ["4:warning@10"], id="worse for a moment only"),
        pytest.param("ocwcwcw", ["4:warning@10"], id="unwell in two ways by turns"),
        pytest.param("occccwwww", ["4:critical@10"], id="better is not told"),
        pytest.param(".....ww.ww", ["8:warning@50"], id="what says nothing counts for nothing"),
        pytest.param("wwww....", ["3:warning@0"], id="and ends nothing"),
    ],
)
def test_a_story(looks: str, heard: list[str]) -> None:
    assert told(looks) == heard


def test_it_is_told_again_while_it_lasts() -> None:
    heard = told("w" * 1_000)

    assert heard == ["3:warning@0", "363:again@0", "723:again@0"]


def test_without_patience_every_change_is_told() -> None:
    heard = told("owo", patience=Patience(after_ms=0, repeat_ms=3_600_000))

    assert heard == ["1:warning@10", "2:over@10"]


def test_what_keeps_coming_and_going_is_told_of_less_and_less() -> None:
    """A minute unwell, a minute well, for two days."""
    heard = told("wwwwwwoooooo" * 1_440)

    firing = [one for one in heard if "warning" in one]
    assert len(firing) == 2, "merged into one alert after the first relapse"
    assert [one.split(":")[1].split("@")[0] for one in heard[:3]] == [
        "warning",
        "over",
        "warning",
    ]
    assert all("again" in one for one in heard[3:])


def test_an_hour_of_peace_makes_good() -> None:
    assert [clear_after_ms(n, PATIENCE) for n in (0, 1, 2, 7, 60)] == [
        30_000, 60_000, 120_000, 3_600_000, 3_600_000,
    ]  # fmt: skip
    heard = told("wwwwoooo" + "o" * 400 + "wwwwooo" + "ooo")

    assert heard == ["3:warning@0", "7:over@0", "411:warning@4080", "415:over@4080"]


@pytest.mark.parametrize(
    ("state", "reason", "how_bad"),
    [
        ("ok", "", Severity.NONE), ("starting", "", None), ("lagging", "", Severity.WARNING),
        ("lagging", "s3_unavailable", Severity.WARNING), ("unknown", "", Severity.WARNING),
        ("unknown", "verification_failed", Severity.CRITICAL),
        ("unknown", "clock", Severity.CRITICAL), ("lagging", "credentials", Severity.CRITICAL),
        ("backoff", "litestream", Severity.WARNING), ("fatal", "", Severity.CRITICAL),
        ("fenced", "fenced", Severity.CRITICAL), ("stopped", "", Severity.WARNING),
    ],
)  # fmt: skip
def test_how_bad_a_state_is(state: str, reason: str, how_bad: Severity | None) -> None:
    assert severity(state, reason) is how_bad


def test_that_somebody_else_writes_is_told_at_once() -> None:
    at_once = PATIENCE.with_reason("second_writer")

    assert told("owoo", patience=at_once) == ["1:warning@10", "2:over@10"]
    assert PATIENCE.with_reason("lost_objects") is PATIENCE


def test_every_state_has_an_answer() -> None:
    assert {state for state in State if severity(state, "") is None} == {State.STARTING}


# -- over a fleet, and in words ----------------------------------------------------------


class Hand:
    """A clock that is moved; wall and elapsed time are a day apart."""

    def __init__(self) -> None:
        self.at_ms = 0

    def elapsed_ms(self) -> int:
        return self.at_ms

    def now_ms(self) -> int:
        return self.at_ms + 86_400_000


def rows(**states: str) -> Iterable[Row]:
    return [Row(name=name, path=f"/{name}.db", state=state) for name, state in states.items()]


class Silent:
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


def test_each_database_is_told_of_and_one_that_is_removed_ends() -> None:
    clock = Hand()
    alerts = Alerts(PATIENCE, [], host="h", clock=clock, log=Silent())
    heard = []
    for at_ms, states in [
        (0, {"a": "lagging", "b": "fatal", "c": "ok"}),
        (30_000, {"a": "lagging", "b": "fatal", "c": "ok"}),
        (40_000, {"a": "ok", "c": "ok"}),
        (70_000, {"a": "ok", "c": "ok"}),
    ]:
        clock.at_ms = at_ms
        heard += [
            (each.database, each.status, each.severity, each.state, each.since)
            for each in alerts.look(list(rows(**states)))
        ]

    began = "1970-01-02T00:00:00.000Z"
    assert heard == [
        ("a", "firing", "warning", "lagging", began),
        ("b", "firing", "critical", "fatal", began),
        ("a", "resolved", "warning", "ok", began),
        ("b", "resolved", "critical", "removed", began),
    ]
    assert set(alerts._cases) == {"a", "c"}


def test_a_message_holds_no_secret() -> None:
    remember("s3cr3t-canary")
    row = Row(name="a", path="/a.db", state="fatal", detail="refused: s3cr3t-canary")
    notice = Notice(severity=Severity.CRITICAL, since_ms=5)

    sent = encode([alert("a", row, notice, past_ms=1_000)], host="here", at_ms=2_000)

    assert json.loads(sent) == {
        "version": 1, "status": "firing", "host": "here", "at": "1970-01-01T00:00:02.000Z",
        "alerts": [
            {
                "database": "a", "status": "firing", "severity": "critical", "state": "fatal",
                "reason": "", "detail": "refused: [redacted]",
                "since": "1970-01-01T00:00:01.005Z", "repeat": False, "rpo_seconds": None,
                "unsent_transactions": None, "epoch": None,
            }
        ],
    }  # fmt: skip
