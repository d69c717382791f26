"""What is kept beside the log: heartbeats of open calls, and what activities printed."""

from __future__ import annotations

from obelisk_ops.core.ports import Beat, LogRow, LogStore, Output, Write


def event(key: int, version: int) -> LogRow:
    return (key, version, 5, "returned", "{}")


def test_of_a_call_the_last_heartbeat_is_kept_until_it_ends(store: LogStore) -> None:
    store.commit([Write(1, [], beats=[(1, 2, 1, 5, "{}"), (1, 3, 1, 6, "[7]")])])
    store.commit([Write(2, [], beats=[(1, 2, 2, 8, '"ß"'), (2, 2, 1, 9, "null")])])

    assert store.beats(1) == {2: Beat(2, 8, '"ß"'), 3: Beat(1, 6, "[7]")}
    assert [row[:3] for row in store.last_beats()] == [(1, 2, 2), (1, 3, 1), (2, 2, 1)]

    store.commit([Write(1, [event(1, 0)], beats_done=[(1, 2), (9, 9)])])

    assert list(store.beats(1)) == [3]


def test_output_is_read_attempt_by_attempt_in_its_order(store: LogStore) -> None:
    late = [(1, 1, 2, 1, "stdout", 9, "again\n")]
    early = [(1, 1, 1, 2, "stderr", 6, "a\x00b"), (1, 1, 1, 1, "stdout", 5, "ü\n")]
    store.commit(
        [Write(1, [event(1, 0)], outputs=late), Write(1, [event(1, 1)], outputs=early)]
    )

    assert store.outputs(1) == [
        Output(1, 1, "stdout", 5, "ü\n"),
        Output(1, 1, "stderr", 6, "a\x00b"),
        Output(1, 2, "stdout", 9, "again\n"),
    ]
    assert store.outputs(2) == []


def test_starts_of_one_moment_add_up_until_they_are_dropped(store: LogStore) -> None:
    store.commit([Write(0, [], starts=[("api", 7, 70, 2), ("api", 5, 50, 1)])])
    store.commit([Write(0, [], starts=[("api", 7, 71, 1), ("gpu", 7, 71, 1)])])

    assert store.starts() == [("api", 5, 50, 1), ("api", 7, 71, 3), ("gpu", 7, 71, 1)]

    store.commit([Write(1, [event(1, 0)], starts_gone=[("api", 7), ("gpu", 5)])])

    assert store.starts() == [("api", 5, 50, 1), ("gpu", 7, 71, 1)]
