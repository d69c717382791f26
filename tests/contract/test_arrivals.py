"""What has arrived is looked up: the one signal, the one answer, the letters that matter."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from obelisk_ops.core.ports import InboxItem, LogStore, Mailbox, State, StateRow, Write

IDS = ["s1", "S1", "s 1", "", "ä'\"\\", "1", "日本"]


def body(signal_id: str, **more: Any) -> str:
    known = {"name": "go", "value": {"id": "inner"}} | more
    return msgspec.json.encode(known | ({"id": signal_id} if signal_id else {})).decode()


def execution(key: int, name: str) -> Write:
    row = StateRow(key=key, id=name, function="m.f", state=State.BLOCKED, created_at=1)
    return Write(key, [(key, 0, 5, "created", '{"fn":"m.f","in":[]}')], created=[row])


def test_signals_are_found_by_their_id_in_one_execution(store: LogStore) -> None:
    arrived = [(1, n, "signal", 0, n, body(name)) for n, name in enumerate(IDS, start=1)]
    other = [(2, 1, "signal", 0, 1, body("elsewhere")), (2, 2, "stub", 0, 1, body("s1"))]
    store.commit([execution(1, "a"), execution(2, "b"), Write(1, [], inbox=[*arrived, *other])])

    for n, name in enumerate(IDS, start=1):
        if name:
            assert store.find_signal(1, name) == InboxItem("signal", 0, n, body(name))
    for missing in ("inner", "elsewhere", "s2", ""):
        assert store.find_signal(1, missing) is None
    assert store.find_signal(2, "s1") is None  # it is no signal
    assert store.find_signal(9, "s1") is None


@pytest.mark.parametrize("noise", ["{", "", "null", "[1]", '"id"'])
def test_a_body_that_is_none_is_kept_and_not_found(store: LogStore, noise: str) -> None:
    rows = [(1, 1, "signal", 0, 1, noise), (1, 2, "signal", 0, 1, body("s1"))]

    assert store.commit([execution(1, "a"), Write(1, [], inbox=rows)]) == {}

    found = store.find_signal(1, "s1")
    assert found is not None
    assert found.body == body("s1")


def test_answers_are_found_by_their_call(store: LogStore) -> None:
    rows = [
        (1, 1, "timer", 3, 1, "{}"), (1, 2, "stub", 3, 2, '{"ok":1}'),
        (1, 3, "child", 4, 3, "{}"), (2, 1, "stub", 4, 4, '{"ok":2}'),
    ]  # fmt: skip
    store.commit([execution(1, "a"), execution(2, "b"), Write(1, [], inbox=rows)])

    assert store.find_answer(1, 3) == InboxItem("stub", 3, 2, '{"ok":1}')
    assert store.find_answer(2, 4) == InboxItem("stub", 4, 4, '{"ok":2}')
    assert (store.find_answer(1, 4), store.find_answer(2, 3)) == (None, None)


def test_letters_are_found_by_target_and_kind(store: LogStore, mailbox: Mailbox) -> None:
    store.commit([execution(1, "a"), execution(2, "a/3")])
    for kind, target, text in (
        ("signal", "a", body("s1")), ("signal", "a", body("")), ("pause", "a", "{}"),
        ("signal", "a/3", body("s2")), ("cancel", "a/3", "{}"), ("cancel", "a", "{}"),
    ):  # fmt: skip
        assert mailbox.ask(kind, target, text, now_ms=5)

    assert [one.kind for one in store.find_letters("a", {"cancel", "pause"})] == [
        "pause", "cancel",
    ]  # fmt: skip
    assert [one.target for one in store.find_letters("a/3", {"signal"})] == ["a/3"]
    assert store.find_letters("a/", {"signal", "cancel"}) == []
    found = store.find_signal_letter("a", "s1")
    assert found is not None
    assert found.body == body("s1")
    assert store.find_signal_letter("a", "s2") is None
    assert store.find_signal_letter("a", "") is None
