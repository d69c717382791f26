"""What is said of tasks, who is dead, and for how many tasks there are places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from obelisk_ops import Queue, activity
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.rows import TaskRow
from obelisk_ops.core.tasks import Sighting, View, lost, told
from obelisk_ops.durable.claiming import in_the_manner_of
from obelisk_ops.durable.work.elsewhere import Elsewhere, manner_of
from obelisk_ops.durable.work.waiting import Waiting
from obelisk_ops.errors import InvalidInput

WAITS = View(
    execution=1, n=2, queue="gpu", function="m.train", is_done=False, is_claimed=False,
    host=None, pid=None, ahead=0, is_served=True, has_code=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (replace(WAITS, is_done=True, is_claimed=True), "its outcome is there, and waits"),
        (replace(WAITS, is_claimed=True, host="h", pid=7), "worker pid 7 on h has it"),
        (replace(WAITS, is_claimed=True), "a worker had it"),
        (replace(WAITS, is_served=False, has_code=False), "no worker serves queue 'gpu'"),
        (replace(WAITS, has_code=False), "queue 'gpu' has the code of m.train"),
        (WAITS, "have no free place"),
        (replace(WAITS, ahead=3), "have no free place; 3 before it"),
    ],
)  # fmt: skip
def test_what_people_are_told(view: View, text: str) -> None:
    assert text in told(view)


@pytest.mark.parametrize(
    ("seen", "since", "dead"),
    [
        (Sighting(1, is_over=False, is_gone=False), {}, False),
        (Sighting(1, is_over=True, is_gone=False), {}, True),
        (Sighting(1, is_over=False, is_gone=True), {1: 5000}, False),
        (Sighting(1, is_over=False, is_gone=True), {1: 4001}, False),
        (Sighting(1, is_over=False, is_gone=True), {1: 4000}, True),
    ],
)
def test_who_is_dead(seen: Sighting, since: dict[int, int], *, dead: bool) -> None:
    assert lost([seen], since, 5000) == ({1} if dead else set())


@activity
def plain(n: int) -> int:
    """Do nothing."""
    return n


@activity
async def waiting(n: int) -> int:
    """Do nothing."""
    return n


def task(**more: object) -> TaskRow:
    other = plain.options(
        queue="gpu", priority=3, timeout=1.5, heartbeat_timeout=0.5, at_most_once=True
    )
    given = {
        "execution": 1, "n": 2, "attempt": 1, "id": "e", "function": plain.name,
        "manner": manner_of(other), "input": "[1]", "queue": "gpu", "priority": 3,
    }  # fmt: skip
    return TaskRow(**given | more)  # type: ignore[arg-type]


def test_it_is_run_as_its_owner_wants() -> None:
    made = in_the_manner_of(task(), plain)

    options = made.activity_options
    assert made.function is plain.function
    assert (options.queue, options.priority, options.at_most_once) == ("gpu", 3, True)
    assert options.timeout is not None
    assert options.heartbeat_timeout is not None
    assert (options.timeout.total_seconds(), options.heartbeat_timeout.total_seconds()) == (
        1.5,
        0.5,
    )


def test_code_that_cannot_be_run_so_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="isolation"):
        in_the_manner_of(task(manner='{"isolation":"process"}'), waiting)


def openings(places: Waiting[None]) -> list[tuple[str, bool | None, int]]:
    return sorted((*one,) for one in places.openings())


def test_places_of_each_queue() -> None:
    queues = [Queue("a", concurrency=2), Queue("b"), Queue("c", rate=1, per=60)]
    places: Waiting[None] = Waiting(queues, SystemClock(), threads=3, coroutines=9)
    assert openings(places) == [("a", None, 2), ("b", False, 3), ("b", True, 9), ("c", None, 1)]

    for n in range(3):
        assert places.enter(plain.options(queue="b"), (1, n))
    assert openings(places) == [("a", True, 2), ("b", True, 6 + 3), ("c", True, 1)]

    assert places.enter(waiting.options(queue="c"), (1, 4))
    assert places.enter(waiting.options(queue="a"), (1, 5))
    assert openings(places) == [("a", True, 1), ("b", True, 7)]


def test_who_stands_in_line_goes_before_tasks() -> None:
    places: Waiting[None] = Waiting([Queue("a")], SystemClock(), threads=1, coroutines=9)
    assert places.enter(plain.options(queue="a"), (1, 1))
    places.wait(plain.options(queue="a"), (1, 2), None)
    places.leave(plain.options(queue="a"))

    assert openings(places) == [("a", True, 9)]


def test_calls_that_come_do_not_pass_those_that_wait_for_ever() -> None:
    elsewhere = Elsewhere(["gpu"], lambda: None, is_there=True)
    assert not any(elsewhere.is_next("gpu") for _ in range(20))
    elsewhere.overflow = frozenset({"gpu"})
    assert not any(elsewhere.is_next("gpu") for _ in range(20))
    elsewhere.load([(1, 1, 1)])
    assert sum(elsewhere.is_next("gpu") for _ in range(16)) == 2
    assert not elsewhere.is_next("cpu")
