"""What the table of tasks promises to owners that offer and workers that claim."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.core.rows import TaskKey, TaskRow
from obelisk_ops.core.tasks import Standing, Wish
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.store import PostgresStore
from obelisk_ops.storage.postgres.tasks import TaskCounter, look_at
from tests.postgres import Postgres


@pytest.fixture
def at(postgres: Postgres) -> Iterator[Place]:
    with postgres.lent() as url:
        yield place.read(url)


@pytest.fixture
def owner(at: Place) -> Iterator[PostgresStore]:
    with closing(PostgresStore(at)) as store:
        yield store


@pytest.fixture
def worker(owner: PostgresStore, at: Place) -> Iterator[TaskCounter]:
    with closing(TaskCounter(at, ["gpu"])) as counter:
        yield counter


def task(n: int, *, attempt: int = 1, queue: str = "gpu", priority: int = 0) -> TaskRow:
    return TaskRow(
        execution=1, n=n, attempt=attempt, id="e", function="m.f", manner="{}",
        input=f'["\\u0000",{n}]', queue=queue, priority=priority,
    )  # fmt: skip


def offer(owner: PostgresStore, *tasks: TaskRow) -> None:
    assert owner.commit([Write(1, [], tasks=tasks)]) == {}


def drop(owner: PostgresStore, *keys: TaskKey, only_free: bool = False) -> None:
    gone = [(*key, only_free) for key in keys]
    assert owner.commit([Write(1, [], tasks_gone=gone)]) == {}


def claimed(counter: TaskCounter, room: int = 10) -> list[int]:
    return [claim.task.n for claim in counter.claim("gpu", ["m.f"], room)]


def standing(owner: PostgresStore) -> list[Standing]:
    return owner.board.tasks()


def test_what_is_offered_is_claimed_as_it_was_written(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    offer(owner, task(1))

    [claim] = worker.claim("gpu", ["m.f"], 10)

    assert claim.task == task(1)
    assert claim.details is None
    assert claimed(worker) == []
    assert [one.task for one in worker.claims()] == [task(1)]


def test_the_higher_priority_goes_first_and_then_who_came_first(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    offer(owner, task(3), task(1), task(2, priority=1))
    offer(owner, task(4))

    assert [claimed(worker, 1) for _ in range(5)] == [[2], [3], [1], [4], []]


def test_only_of_the_queue_and_the_code_that_a_worker_has(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    offer(owner, task(1, queue="cpu"), task(2))

    assert worker.claim("gpu", ["m.other"], 10) == []
    assert claimed(worker) == [2]
    assert worker.news(["m.f"]).is_any is False


def test_an_offer_that_is_repeated_stays_as_it_is(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    offer(owner, task(1))
    assert claimed(worker) == [1]

    offer(owner, task(1))

    assert claimed(worker) == []
    assert [one.worker for one in standing(owner)] == [worker.worker]


def test_who_says_what_came_of_a_task_claims_another_in_its_place(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    offer(owner, task(1), task(2), task(3))
    assert claimed(worker, 1) == [1]

    claims = worker.finish([((1, 1, 1), "{}")], [], [], Wish("gpu", ["m.f"], 1))

    assert [claim.task for claim in claims] == [task(2)]
    assert [(one.outcome, one.worker is None) for one in standing(owner)] == [
        ("{}", False), (None, False), (None, True),
    ]  # fmt: skip
    assert worker.finish([((1, 2, 1), "{}")], [], []) == []


def test_what_nobody_has_claimed_is_taken_back_and_the_rest_is_not(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    offer(owner, task(1), task(2))
    assert claimed(worker, 1) == [1]

    drop(owner, (1, 1, 1), (1, 2, 1), only_free=True)

    assert [one.key for one in standing(owner)] == [(1, 1, 1)]
    drop(owner, (1, 1, 1))
    assert standing(owner) == []
    assert worker.news(["m.f"]).wanted == frozenset()


def test_an_outcome_is_kept_once_and_with_what_was_printed(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    row = StateRow(key=1, id="e", function="m.w", state=State.RUNNING, created_at=1)
    assert owner.commit([Write(1, [], created=[row], tasks=[task(1)])]) == {}
    assert claimed(worker) == [1]
    said = [(1, 1, 1, 1, "stdout", 5, "a\x00b")]

    worker.finish([((1, 1, 1), '{"ok":1}')], said, [(1, 1, 1, 5, '"half"')])
    worker.finish([((1, 1, 1), '{"ok":2}')], said, [(1, 1, 1, 6, '"late"')])

    [found] = standing(owner)
    assert found == Standing(
        key=(1, 1, 1), worker=worker.worker, outcome='{"ok":1}', is_over=False
    )
    assert [(one.attempt, one.text) for one in owner.outputs(1)] == [(1, "a\x00b")]
    assert owner.beats(1)[1].body == '"half"'
    assert worker.claims() == []


def test_nothing_is_kept_of_what_is_another_workers(
    owner: PostgresStore, worker: TaskCounter, at: Place
) -> None:
    offer(owner, task(1))
    with closing(TaskCounter(at, ["gpu"])) as other:
        assert claimed(other) == [1]

        worker.finish([((1, 1, 1), "{}")], [(1, 1, 1, 1, "stdout", 5, "x")], [])
        worker.beat([(1, 1, 1, 5, "1")])
        worker.release([(1, 1, 1)])

        assert [(one.worker, one.outcome) for one in standing(owner)] == [(other.worker, None)]
        assert owner.outputs(1) == []
        assert owner.beats(1) == {}


def test_the_next_attempt_is_told_the_last_heartbeat(
    owner: PostgresStore, worker: TaskCounter
) -> None:
    offer(owner, task(1))
    assert claimed(worker) == [1]
    worker.beat([(1, 1, 1, 5, "1"), (1, 1, 1, 6, "2")])

    assert owner.commit(
        [Write(1, [], tasks=[task(1, attempt=2)], tasks_gone=[(1, 1, 1, False)])]
    ) == {}  # fmt: skip

    [claim] = worker.claim("gpu", ["m.f"], 10)
    assert (claim.task.attempt, claim.details) == (2, "2")


def test_what_was_not_begun_is_left_to_others(
    owner: PostgresStore, worker: TaskCounter, at: Place
) -> None:
    offer(owner, task(1))
    assert claimed(worker) == [1]

    worker.release([(1, 1, 1)])

    with closing(TaskCounter(at, ["gpu"])) as other:
        assert claimed(other) == [1]


def test_a_rate_counts_what_all_have_claimed(
    owner: PostgresStore, worker: TaskCounter, at: Place
) -> None:
    offer(owner, *(task(n) for n in range(6)))
    with closing(TaskCounter(at, ["gpu"])) as other:
        hour = 3_600_000

        first, is_held_back = worker.claim_at_rate("gpu", ["m.f"], 2, 3, hour)
        assert ([one.task.n for one in first], is_held_back) == ([0, 1], False)
        second, is_held_back = other.claim_at_rate("gpu", ["m.f"], 2, 3, hour)
        assert ([one.task.n for one in second], is_held_back) == ([2], True)
        assert other.claim_at_rate("gpu", ["m.f"], 2, 3, hour) == ([], True)

        owner.commit([Write(0, [], starts_gone=[row[:2] for row in owner.starts()])])
        third, is_held_back = other.claim_at_rate("gpu", ["m.f"], 9, 9, hour)
        assert ([one.task.n for one in third], is_held_back) == ([3, 4, 5], False)


def test_of_many_claimers_each_finds_others(owner: PostgresStore, at: Place) -> None:
    offer(owner, *(task(n) for n in range(200)))
    found: list[int] = []

    def work() -> None:
        with closing(TaskCounter(at, ["gpu"])) as counter:
            while some := claimed(counter, 7):
                found.extend(some)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(200))


def test_who_is_there_is_seen_and_who_is_not(owner: PostgresStore, at: Place) -> None:
    counter = TaskCounter(at, ["gpu"])
    with closing(TaskCounter(at, ["cpu"])) as other:
        assert other.news([]).others == {"gpu"}
        [seen] = owner.board.sight([counter.worker])
        assert (seen.is_over, seen.is_gone) == (False, False)

        counter.drop()  # as if it had been killed

        [seen] = owner.board.sight([counter.worker])
        assert not seen.is_over
        assert counter.news([]).wanted == frozenset()  # it is back
        counter.close()
        assert other.news([]).others == frozenset()


def test_people_are_told(owner: PostgresStore, worker: TaskCounter, at: Place) -> None:
    worker.news(["m.f"])
    offer(owner, task(1), task(2), task(3, queue="cpu"))
    assert claimed(worker, 1) == [1]

    first, second, third = look_at(at, [1])

    assert (first.is_claimed, first.pid is not None) == (True, True)
    assert (second.ahead, second.is_served, second.has_code) == (0, True, True)
    assert (third.is_served, third.has_code) == (False, False)
