"""Code that begins at once, in a task of its own from its first line on."""

from __future__ import annotations

import asyncio
import inspect
import sys
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from obelisk_ops.durable.work.begin import Beginning

told: list[object] = []
number: ContextVar[int] = ContextVar("number", default=0)

Code = Callable[[], Awaitable[object]]


#: how many rounds of the loop ago other code was begun by the same; none if it was not
before: list[int] = []


@pytest.fixture(autouse=True, params=[(), (0,), (2,)], ids=["first", "next", "later"])
def _place(request: pytest.FixtureRequest) -> None:
    told.clear()
    before[:] = request.param


async def _noted(code: Code) -> None:
    try:
        told.append(await code())
    except asyncio.CancelledError:
        told.append("cancelled")
        raise
    except Exception as error:  # noqa: BLE001 - noted
        told.append(type(error).__name__)


async def begins() -> Beginning:
    beginning = Beginning(asyncio.get_running_loop())
    for rounds in before:
        assert beginning.begin(_nothing(), "other code", copy_context()) is None
        for _ in range(rounds):
            await asyncio.sleep(0)
    return beginning


async def begun(code: Code) -> asyncio.Task[None] | None:
    beginning = await begins()
    try:
        return beginning.begin(_noted(code), "code", copy_context())
    finally:
        beginning.close()


def run(code: Code, then: Callable[[asyncio.Task[None]], Any] | None = None) -> list[object]:
    async def main() -> None:
        task = await begun(code)
        if task is not None:
            if then is not None:
                then(task)
            await asyncio.wait({task})
            assert task.cancelled() or task.exception() is None

    asyncio.run(main())
    return told


async def _nothing() -> None:
    return


async def _instantly() -> str:
    return "done"


async def _same_task() -> bool:
    before = asyncio.current_task()
    assert before is not None
    assert before.get_name() == "code"
    await asyncio.sleep(0)
    between = asyncio.current_task()
    await asyncio.sleep(0.001)
    return before is between is asyncio.current_task() and before in asyncio.all_tasks()


async def _is_as_any() -> list[bool]:
    """Ask a task that has not waited yet for all that libraries ask one for."""
    task = asyncio.current_task()
    assert task is not None
    found = [
        inspect.iscoroutine(task.get_coro()),
        task.get_loop() is asyncio.get_running_loop(),
        task in asyncio.all_tasks(),
        "pending" in repr(task),
        task.get_stack() != [],
        not task.done(),
    ]
    task.add_done_callback(lambda _: told.append("its end was told"))
    return found


async def _takes_back_its_cancel() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel("for a moment")
    task.uncancel()
    try:
        await asyncio.sleep(0.001)
    except asyncio.CancelledError as error:
        return f"cancelled {error}"
    return "went on"


async def _is_told_why() -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as error:
        return str(error)
    return ""


async def _timeout() -> None:
    async with asyncio.timeout(0.001):
        await asyncio.Event().wait()


async def _no_time() -> None:
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


async def _in_time() -> str:
    async with asyncio.timeout(30):
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    return "in time" if not task.cancelling() else "cancelled"


async def _group() -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(0, value)) for value in range(3)]
    return sum(task.result() for task in tasks)


async def _failing_group() -> None:
    async def fail() -> None:
        raise ValueError

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        await asyncio.Event().wait()


async def _cancels_itself() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0.001)
    return "went on"


async def _waits_for_what_is_over() -> int:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(5)
    return await future


async def _variables() -> tuple[int, int]:
    number.set(7)
    await asyncio.sleep(0)
    inner = asyncio.create_task(_get_number())
    return number.get(), await inner


async def _get_number() -> int:
    return number.get()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (_instantly, "done"),
        (_same_task, True),
        (_timeout, "TimeoutError"),
        (_no_time, "TimeoutError"),
        (_in_time, "in time"),
        (_group, 3),
        (_failing_group, "ExceptionGroup"),
        (_cancels_itself, "cancelled"),
        (_waits_for_what_is_over, 5),
        (_variables, (7, 7)),
    ],
)
def test_asyncio_finds_what_it_finds_in_any_task(code: Code, expected: object) -> None:
    assert run(code) == [expected]


def test_what_waits_for_nothing_is_over_at_once() -> None:
    async def main() -> None:
        assert await begun(_instantly) is None
        assert told == ["done"]

    asyncio.run(main())


def test_before_it_waits_it_is_a_whole_task_and_its_end_is_told() -> None:
    async def main() -> None:
        assert await begun(_is_as_any) is None
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [*asyncio.all_tasks()] == [asyncio.current_task()]

    asyncio.run(main())
    assert told == [[True] * 6, "its end was told"]


def test_a_cancel_that_is_taken_back_is_what_it_is_in_any_task() -> None:
    async def as_usual() -> None:
        await asyncio.wait({asyncio.ensure_future(_noted(_takes_back_its_cancel))})

    asyncio.run(as_usual())
    assert run(_takes_back_its_cancel) == told[:1] * 2


def test_code_is_told_why_it_is_cancelled() -> None:
    assert run(_is_told_why, lambda task: task.cancel("too late")) == ["too late"]


def test_another_task_is_not_mistaken_for_it() -> None:
    async def main() -> None:
        outer = asyncio.current_task()

        async def code() -> bool:
            return asyncio.current_task() is outer

        await begun(code)
        assert told == [False]
        assert asyncio.current_task() is outer

    asyncio.run(main())


def test_what_it_waits_for_is_cancelled_with_it_also_before_it_goes_on() -> None:
    inner: list[asyncio.Task[None]] = []

    async def code() -> None:
        inner.append(asyncio.create_task(asyncio.sleep(60)))
        await inner[0]

    assert run(code, lambda task: task.cancel()) == ["cancelled"]
    assert inner[0].cancelled()


def test_a_cancel_that_is_swallowed_leaves_the_code_running() -> None:
    async def code() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        return "cleaned up"

    assert run(code, lambda task: task.cancel()) == ["cleaned up"]


def test_code_that_is_cancelled_where_it_only_lets_others_run() -> None:
    async def code() -> str:
        await asyncio.sleep(0)
        return "went on"

    assert run(code, lambda task: task.cancel()) == ["cancelled"]


def test_a_loop_that_is_interrupted_is_told() -> None:
    async def code() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(code)


class _Known:
    """Ways to know a task, or to leave something in it."""

    def __init__(self) -> None:
        self.left: list[object] = []

    def keep(self, task: asyncio.Task[None]) -> None:
        self.left.append(task)

    def watch(self, task: asyncio.Task[None]) -> None:
        self.left.append(weakref.ref(task))

    def hear(self, task: asyncio.Task[None]) -> None:
        task.add_done_callback(lambda _: told.append("its end"))

    def mark(self, task: asyncio.Task[None]) -> None:
        task.mark = 1  # type: ignore[attr-defined]

    def cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        task.uncancel()

    def call(self, _task: asyncio.Task[None]) -> None:
        number.set(7)


@pytest.mark.parametrize("way", ["keep", "watch", "hear", "mark", "cancel", "call"])
def test_who_knows_the_task_of_other_code_does_not_meet_it(way: str) -> None:
    known = _Known()

    async def one() -> None:
        task = asyncio.current_task()
        assert task is not None
        getattr(known, way)(task)

    async def other() -> list[object]:
        task = asyncio.current_task()
        assert task is not None
        found = [one() if isinstance(one, weakref.ref) else one for one in known.left]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [task in found, hasattr(task, "mark"), number.get(), "its end" in told]

    async def main() -> None:
        beginning = await begins()
        assert beginning.begin(one(), "one", copy_context()) is None
        task = beginning.begin(_noted(other), "other", copy_context())
        beginning.close()
        assert task is not None
        await task

    asyncio.run(main())
    assert told[-1] == [False, False, 0, way == "hear"]


def test_a_task_that_waits_for_code_is_there_for_nobody() -> None:
    async def main() -> None:
        beginning = Beginning(asyncio.get_running_loop())
        beginning.begin(_nothing(), "code", copy_context())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())  # and nobody is told that it is left


def test_what_code_raises_later_has_nothing_to_do_with_what_it_was_told() -> None:
    async def code() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return str(sys.exc_info()[1])

    assert run(code, lambda task: task.cancel()) == ["None"]
