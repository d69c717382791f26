"""asyncio in a workflow is one named error, whatever the code does with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from obelisk_ops import activity, join_set
from obelisk_ops.durable.flow.machine import Machine
from tests.driving import Code, live, ok, outcome


@activity
def act(value: int = 0) -> int:
    return value


async def nothing() -> None: ...


class Bare:
    """What asyncio.sleep(0) does: a yield of nothing."""

    def __await__(self) -> Any:
        yield


async def sleeps() -> None:
    await asyncio.sleep(1)


async def yields() -> None:
    await asyncio.sleep(0)


async def yields_bare() -> None:
    await Bare()


async def times_out() -> None:
    async with asyncio.timeout(5):
        await act()


async def waits_for() -> None:
    await asyncio.wait_for(act(), 1)


async def goes_to_a_thread() -> None:
    await asyncio.to_thread(print)


async def asks_for_the_time() -> None:
    asyncio.get_running_loop().time()


async def asks_who_it_is() -> None:
    asyncio.current_task().get_name()  # type: ignore[union-attr]


async def waits_for_an_event() -> None:
    await asyncio.Event().wait()


async def makes_a_future() -> None:
    await asyncio.get_event_loop().create_future()


async def gathers_activities() -> None:
    await asyncio.gather(act(1), act(2))


async def makes_a_task() -> None:
    coroutine = nothing()
    try:
        await asyncio.create_task(coroutine)
    finally:
        coroutine.close()


USES = [
    sleeps, yields, yields_bare, times_out, waits_for, goes_to_a_thread, asks_for_the_time,
    asks_who_it_is, waits_for_an_event, makes_a_future, gathers_activities, makes_a_task,
]  # fmt: skip


def is_named(machine: Machine) -> bool:
    assert machine.finished is not None
    error: Any = machine.finished.error
    return bool(
        error.type == "obelisk_ops.errors.WorkflowMisuse"
        and "cannot be used in a workflow: use " in error.message
    )


@pytest.mark.filterwarnings("ignore:coroutine '_wrap_awaitable' was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("inside_a_loop", ["in a loop", "alone"])
@pytest.mark.behaviour("P17")
def test_it_is_named(use: Code, inside_a_loop: str) -> None:
    async def in_a_loop() -> Machine:
        return live(use)[0]

    machine = asyncio.run(in_a_loop()) if inside_a_loop == "in a loop" else live(use)[0]

    assert is_named(machine)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("use", USES)
def test_it_is_named_also_when_the_code_swallows_it(use: Code) -> None:
    async def code() -> int:
        with suppress(Exception):
            await use()
        return 1

    machine, _ = live(code)

    assert is_named(machine)


@pytest.mark.parametrize("use", [sleeps, yields])
def test_code_that_tries_for_ever_is_stopped(use: Code) -> None:
    async def code() -> None:
        while True:
            try:
                await use()
            except Exception:  # noqa: BLE001, S112 - what it must survive
                continue

    machine, _ = live(code)

    assert is_named(machine)


def test_a_future_of_somebody_else_is_named() -> None:
    async def main() -> Machine:
        future = asyncio.get_running_loop().create_future()

        async def code() -> None:
            await future

        return live(code)[0]

    assert is_named(asyncio.run(main()))


def test_the_loop_is_back_when_the_code_waits() -> None:
    async def waits() -> None:
        await act()

    async def main() -> bool:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        live(waits)
        return asyncio.current_task() is task and asyncio.get_running_loop() is loop

    assert asyncio.run(main())


def test_a_log_record_may_ask_for_the_name_of_the_task() -> None:
    """As logging does since Python 3.12; it lives with having no answer."""
    text = "import asyncio\ndef ask():\n    asyncio.current_task().get_name()\n"
    there: dict[str, Any] = {"__name__": "logging"}
    exec(text, there)  # noqa: S102 - it is the test's own

    async def code() -> int:
        with suppress(AttributeError):
            there["ask"]()
        return 1

    assert outcome(live(code)[0]) == 1


def test_generators_of_the_code_work() -> None:
    async def values() -> AsyncIterator[int]:
        for value in range(3):
            yield await act(value)

    async def code() -> list[int]:
        return [value async for value in values()]

    assert outcome(live(code, ok(1, 5), ok(2, 6), ok(3, 7))[0]) == [5, 6, 7]


async def tidy(closed: list[str]) -> AsyncIterator[int]:
    try:
        for value in range(3):
            yield await act(value)
    finally:
        closed.append("tidied")


async def tidies_by_calling() -> AsyncIterator[int]:
    try:
        for value in range(3):
            yield await act(value)
    finally:
        await act(9)


async def first_of(values: AsyncIterator[int]) -> int:
    async for value in values:
        return value
    return -1


def test_a_generator_left_in_the_middle_is_closed() -> None:
    closed: list[str] = []

    async def code() -> int:
        return await first_of(tidy(closed))

    async def main() -> Machine:
        return live(code, ok(1, 5))[0]

    assert outcome(asyncio.run(main())) == 5
    assert closed == ["tidied"]


def test_clean_up_that_calls_is_not_run_behind_the_back_of_the_code() -> None:
    async def code() -> int:
        return await first_of(tidies_by_calling())

    machine, log = live(code, ok(1, 5))

    assert outcome(machine) == "WorkflowMisuse"
    assert "an async generator was left in the middle" in log[-1].body
    assert len(log) == 4


def test_a_generator_can_be_closed_in_the_open() -> None:
    async def code() -> int:
        async with aclosing(tidies_by_calling()) as values:  # type: ignore[type-var]
            return await first_of(values)

    assert outcome(live(code, ok(1, 5), ok(2))[0]) == 5


def test_a_set_may_be_left_in_the_middle_of_its_answers() -> None:
    async def code() -> int:
        async with join_set() as calls:
            for value in range(3):
                calls.submit(act, value)
            async for value in calls:
                return int(value)
        return -1

    assert outcome(live(code, ok(2, 7))[0]) == 7
