"""Alarms on a clock that is moved by hand: they ring when it is moved, in their order."""

from __future__ import annotations

import asyncio

from obelisk_ops.core.clock import Alarmed, HandMoved
from obelisk_ops.durable.alarms import Alarms


class Standing:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000
        self.told: list[Alarmed] = []

    def now_ms(self) -> int:
        return self.now

    def elapsed_ms(self) -> int:
        return self.now

    def attach(self, alarmed: Alarmed) -> None:
        self.told.append(alarmed)

    def detach(self, alarmed: Alarmed) -> None:
        self.told.remove(alarmed)


def test_alarms_of_a_clock_that_is_moved_by_hand() -> None:
    clock = Standing()
    rung: list[str] = []

    async def main() -> None:
        alarms = Alarms(asyncio.get_running_loop(), clock)
        assert clock.told == [alarms]
        assert alarms.next_due() is None
        alarms.set("late", 1300, lambda: rung.append("late"))
        alarms.set("dropped", 1100, lambda: rung.append("dropped"))
        alarms.set("early", 1200, lambda: rung.append("replaced"))
        alarms.set("early", 1250, lambda: rung.append("early"))
        alarms.drop("dropped")
        assert alarms.next_due() == 1250
        clock.now = 1249
        alarms.ring()
        assert rung == []
        clock.now = 1300
        alarms.ring()
        assert rung == ["early", "late"]
        alarms.set("at once", 1300, lambda: rung.append("at once"))
        await asyncio.sleep(0.01)
        assert rung[2:] == ["at once"]
        alarms.stop()
        assert clock.told == []

    asyncio.run(main())
    assert isinstance(clock, HandMoved)
