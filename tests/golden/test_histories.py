"""Histories that earlier versions have recorded fit the code of today, for ever."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from obelisk_ops.core import events
from obelisk_ops.core.events import BODIES
from obelisk_ops.core.history import from_json, to_json
from obelisk_ops.testing import replay
from tests.databases import Databases
from tests.golden.flows import FLOWS
from tests.golden.record import DIGESTS, SCENARIOS, recorded

FILES = sorted(Path(__file__).parent.glob("*.json"))
#: kinds that no replay is told of, and no test here makes
ELSEWHERE = {"parked", "resumed", "upgraded"}

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@pytest.mark.behaviour("P11")
@every_file
def test_it_is_replayed(file: Path) -> None:
    history = from_json(file.read_bytes())

    replayed = replay(history, FLOWS[history.function])

    assert replayed.asks_for == []
    end = history.events[-1]
    assert replayed.has_finished is (end.kind == "finished")
    if replayed.has_finished:
        outcome = events.decode(end)
        if outcome.error:
            assert type(replayed.error).__name__ == outcome.error.type.rpartition(".")[2]
        elif outcome.ok:
            assert replayed.value == msgspec.json.decode(outcome.ok)


@every_file
def test_each_beginning_of_it_is_replayed(file: Path) -> None:
    history = from_json(file.read_bytes())

    for length in range(1, len(history.events)):
        beginning = replace(history, events=history.events[:length])
        replay(beginning, FLOWS[history.function])


@every_file
def test_it_is_as_it_was_recorded(file: Path) -> None:
    known = {line.split()[1]: line.split()[0] for line in DIGESTS.read_text().splitlines()}

    assert known[file.name] == hashlib.sha256(file.read_bytes()).hexdigest(), (
        "a history is never changed; give a new one another name"
    )
    assert to_json(from_json(file.read_bytes())) == file.read_text()


def test_nothing_is_missing() -> None:
    found = {file.stem for file in FILES}
    kinds = {event.kind for file in FILES for event in from_json(file.read_bytes()).events}
    listed = {line.split()[1] for line in DIGESTS.read_text().splitlines()}

    assert set(SCENARIOS) <= found, "python -m tests.golden.record"
    assert kinds >= set(BODIES) - ELSEWHERE
    assert listed == {file.name for file in FILES}


@pytest.mark.whole_on_a_server
@pytest.mark.parametrize("name", ["activities", "signals", "misfits", "cancelled", "paused"])
def test_today_records_the_same(name: str, databases: Databases) -> None:
    """Not for ever: an event may be added. Then record the scenario by another name."""
    old = from_json((Path(__file__).parent / f"{name}.json").read_bytes())

    assert [e.kind for e in recorded(name, databases).events] == [e.kind for e in old.events]
