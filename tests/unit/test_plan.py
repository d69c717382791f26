"""Every decision about a process, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from obelisk_ops.supervise.plan import (
    Child,
    ChildState,
    Limits,
    Step,
    Wanted,
    backoff_ms,
    exited,
    is_fatal,
    next_step,
    started,
    stopping,
)

LIMITS = Limits(
    stop_grace_ms=15_000,
    silent_ms=15_000,
    start_ms=200,
    start_each_ms=10,
    healthy_after_ms=10_000,
    backoff_first_ms=250,
    backoff_max_ms=2_000,
    fatal_failures=6,
    fatal_retry_ms=60_000,
)
NOW = 1_000_000
A = Wanted(config="a", inodes={"x": 7})
GONE = Wanted(config="a", inodes={"x": None})
AB = Wanted(config="ab", inodes={"x": 7, "y": 8})


def child(
    state: ChildState, *, ago: int = 0, failures: int = 0, silent: int = 0, **inodes: int
) -> Child:
    return Child(
        config="a", inodes=inodes or {"x": 7}, state=state, since_ms=NOW - ago,
        answered_ms=NOW - silent, failures=failures,
    )  # fmt: skip


RUNNING, STOPPING, EXITED = ChildState.RUNNING, ChildState.STOPPING, ChildState.EXITED


@pytest.mark.parametrize(
    ("wanted", "known", "step"),
    [
        pytest.param(None, None, None, id="nothing to do"),
        pytest.param(A, None, Step.SPAWN, id="new"),
        pytest.param(GONE, None, None, id="new, but there is no file yet"),
        pytest.param(A, child(RUNNING), None, id="runs"),
        pytest.param(None, child(RUNNING), Step.TERMINATE, id="no longer wanted"),
        pytest.param(
            replace(A, config="b"), child(RUNNING, ago=210), Step.TERMINATE, id="new config"
        ),
        pytest.param(replace(A, config="b"), child(RUNNING, ago=209), None, id="just started"),
        pytest.param(AB, child(RUNNING, ago=210), Step.TERMINATE, id="another joins"),
        pytest.param(
            replace(AB, is_complete=False), child(RUNNING, ago=210), None, id="more will join"
        ),
        pytest.param(
            A, child(RUNNING, ago=220, x=7, y=8), None, id="same config: nothing was left out"
        ),
        pytest.param(
            replace(A, config="b"),
            child(RUNNING, ago=220, x=7, y=8),
            Step.TERMINATE,
            id="one has left: its rest is shipped",
        ),
        pytest.param(
            replace(AB, inodes={"x": 7, "y": None}),
            child(RUNNING, x=7, y=8),
            Step.KILL,
            id="the file of one is gone",
        ),
        pytest.param(
            replace(AB, is_complete=False), None, None, id="new, and others are about to join"
        ),
        pytest.param(
            replace(AB, inodes={"x": 7, "y": None}), None, Step.SPAWN, id="those that are ready"
        ),
        pytest.param(
            replace(AB, is_complete=False), child(EXITED), None, id="ended, waits for others"
        ),
        pytest.param(replace(A, inodes={"x": 8}), child(RUNNING), Step.KILL, id="another file"),
        pytest.param(
            Wanted(config="b", inodes={"x": 8}),
            child(RUNNING),
            Step.KILL,
            id="another file, new config",
        ),
        pytest.param(GONE, child(RUNNING), Step.KILL, id="the file is gone"),
        pytest.param(A, child(RUNNING, silent=14_999), None, id="silent, not too long"),
        pytest.param(A, child(RUNNING, silent=15_000), Step.KILL, id="silent"),
        pytest.param(A, child(STOPPING, ago=14_999), None, id="stopping"),
        pytest.param(A, child(STOPPING, ago=15_000), Step.KILL, id="does not stop"),
        pytest.param(
            None, child(STOPPING, ago=15_000), Step.KILL, id="unwanted, does not stop"
        ),
        pytest.param(None, child(STOPPING), None, id="unwanted, stopping"),
        pytest.param(
            replace(A, inodes={"x": 8}),
            child(STOPPING),
            Step.KILL,
            id="file replaced meanwhile",
        ),
        pytest.param(None, child(EXITED), Step.FORGET, id="unwanted, ended"),
        pytest.param(GONE, child(EXITED), Step.FORGET, id="file gone, ended"),
        pytest.param(A, child(EXITED), Step.SPAWN, id="ended as asked: no rest"),
        pytest.param(A, child(EXITED, failures=1, ago=249), None, id="rests"),
        pytest.param(A, child(EXITED, failures=1, ago=250), Step.SPAWN, id="has rested"),
        pytest.param(A, child(EXITED, failures=3, ago=999), None, id="rests longer"),
        pytest.param(A, child(EXITED, failures=3, ago=1_000), Step.SPAWN, id="rested longer"),
        pytest.param(A, child(EXITED, failures=6, ago=59_999), None, id="fatal"),
        pytest.param(
            A, child(EXITED, failures=6, ago=60_000), Step.SPAWN, id="fatal, slow retry"
        ),
    ],
)
def test_next_step(wanted: Wanted | None, known: Child | None, step: Step | None) -> None:
    assert next_step(wanted, known, now_ms=NOW, limits=LIMITS) == step


@pytest.mark.parametrize(
    ("failures", "rest_ms"),
    [(0, 0), (1, 250), (2, 500), (3, 1_000), (4, 2_000), (5, 2_000), (6, 60_000), (99, 60_000)],
)
def test_backoff_doubles_up_to_its_cap(failures: int, rest_ms: int) -> None:
    assert backoff_ms(failures, LIMITS) == rest_ms


@pytest.mark.parametrize(
    ("known", "failures"),
    [
        pytest.param(child(RUNNING, ago=9_999, failures=2), 3, id="a quick exit"),
        pytest.param(child(RUNNING, ago=10_000, failures=5), 1, id="after a healthy time"),
        pytest.param(child(STOPPING, failures=5), 0, id="as asked"),
    ],
)
def test_an_exit_is_counted_by_how_it_came(known: Child, failures: int) -> None:
    ended = exited(known, now_ms=NOW, limits=LIMITS)

    assert (ended.state, ended.since_ms, ended.failures) == (EXITED, NOW, failures)


def test_a_new_process_inherits_the_failures_and_nothing_else() -> None:
    fresh = started(child(EXITED, failures=3, x=6), A, now_ms=NOW)

    assert fresh == child(RUNNING, failures=3)


def test_fatal_is_a_state_of_a_process_that_does_not_run() -> None:
    assert is_fatal(child(EXITED, failures=6), LIMITS)
    assert not is_fatal(child(EXITED, failures=5), LIMITS)
    assert not is_fatal(child(RUNNING, failures=6), LIMITS)


def test_stopping_starts_the_grace_anew() -> None:
    assert stopping(child(RUNNING, ago=99_000), now_ms=NOW).since_ms == NOW
