"""Options of activities: what makes no sense is refused where it is written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from obelisk_ops import Retry, activity
from obelisk_ops.core.retry import DEFAULT, NEVER
from obelisk_ops.errors import InvalidInput


@activity
def threaded() -> None:
    """Do nothing, in a thread."""


@activity
async def asynchronous() -> None:
    """Do nothing, on the loop."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry": 3}, "retry is a Retry"),
        ({"timeout": 0}, "timeout is more than 0"),
        ({"timeout": -1}, "timeout: -1 is no duration"),
        ({"timeout": "1s"}, "timeout: '1s' is no duration"),
        ({"heartbeat_timeout": timedelta(0)}, "heartbeat_timeout is more than 0"),
        ({"heartbeat_timeout": True}, "heartbeat_timeout: True is no duration"),
        ({"queue": ""}, "queue is a name"),
        ({"queue": "two words"}, "queue is a name"),
        ({"priority": 1.5}, "priority is a whole number"),
        ({"priority": True}, "priority is a whole number"),
        ({"priority": 10**9}, "priority is a whole number"),
        ({"at_most_once": 1}, "at_most_once is True or False"),
        ({"overlap": "yes"}, "overlap is True or False"),
        ({"isolation": "container"}, "isolation is 'thread' or 'process'"),
        ({"overlap": True, "isolation": "process"}, "overlap is for threads"),
        ({"overlap": True, "at_most_once": True}, "contradict"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        threaded.options(**options)
    with pytest.raises(InvalidInput, match=said):
        activity(**options)(threaded.function)


@pytest.mark.parametrize("options", [{"isolation": "process"}, {"overlap": True}])
def test_what_is_for_threads_is_refused_for_async_def(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"test_activity_options\.asynchronous: .*async def"):
        asynchronous.options(**options)


def test_what_is_left_out_stays_as_it_was() -> None:
    quick = Retry(max_attempts=2)
    first = threaded.options(
        retry=quick, timeout=1.5, heartbeat_timeout=timedelta(seconds=2), queue="gpu",
        priority=-3,
    )  # fmt: skip
    second = first.options(timeout=3, at_most_once=True)

    old, new = first.activity_options, second.activity_options
    assert (new.retry, new.queue, new.priority) == (quick, "gpu", -3)
    assert (old.timeout, new.timeout) == (timedelta(seconds=1.5), timedelta(seconds=3))
    assert new.heartbeat_timeout == timedelta(seconds=2)
    assert (old.at_most_once, new.at_most_once) == (False, True)
    assert threaded.activity_options.queue == "default"


def test_at_most_once_is_one_attempt_unless_a_policy_is_asked_for() -> None:
    asked = Retry(max_attempts=3)

    assert threaded.activity_options.policy == DEFAULT
    assert threaded.options(at_most_once=True).activity_options.policy == NEVER
    assert threaded.options(at_most_once=True, retry=asked).activity_options.policy == asked
