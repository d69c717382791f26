"""
Drills beside the work: a child process of low priority does one, then there is a rest.

It is the command that people type. What it finds is in the drill book; that it ends badly,
or takes too long, disturbs nobody.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from obelisk_ops import process
from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import OpsError
from obelisk_ops.settings import Settings
from obelisk_ops.supervise.companion import View
from obelisk_ops.supervise.drillbook import Drillbook
from obelisk_ops.supervise.drilling import Standing, next_to_drill, rest_s
from obelisk_ops.supervise.fleet import Log
from obelisk_ops.supervise.health import State
from obelisk_ops.supervise.launch import environment, replica_of

_LOOK_S, _LOOK_SHARE = 15.0, 20
_POLL_S = 0.1
_NICENESS = 15
#: Behind its own limit a drill is ended: it hangs.
_GRACE_S = 60.0


class Driller:
    """A companion of the supervisor."""

    def __init__(self, settings: Callable[[], Settings], clock: Clock, log: Log) -> None:
        self._settings, self._clock, self._log = settings, clock, log
        self._seen: dict[str, int] = {}

    async def run(self, view: View) -> None:
        """See Companion.run."""
        while True:
            settings = self._settings()
            every_s = settings.drill.every_s
            await asyncio.sleep(min(_LOOK_S, (every_s or _LOOK_S) / _LOOK_SHARE))
            name = self._next(view, settings) if every_s else None
            if name is not None:
                took_s = await self._drill(name, settings)
                await asyncio.sleep(rest_s(took_s))

    def _next(self, view: View, settings: Settings) -> str | None:
        every_s = settings.drill.every_s
        assert every_s is not None
        book = Drillbook(settings.state_dir, replica_of(settings).url)
        now_ms = self._clock.now_ms()
        standings = list(self._standings(view, book, now_ms))
        self._seen = {standing.name: standing.seen_ms for standing in standings}
        return next_to_drill(standings, round(every_s * 1000), now_ms)

    def _standings(self, view: View, book: Drillbook, now_ms: int) -> Iterator[Standing]:
        for row in view.rows():
            entry = book.entry(row.name)
            yield Standing(
                name=row.name,
                seen_ms=min(self._seen.get(row.name, now_ms), now_ms),
                last_ms=entry.last.at_ms if entry else None,
                outcome=entry.last.outcome if entry else None,
                is_well=row.state == State.OK,
            )

    async def _drill(self, name: str, settings: Settings) -> float:
        began_ms = self._clock.elapsed_ms()
        self._log.info("drill_begins", database=name)
        try:
            child = self._start(name, settings)
        except (OpsError, OSError) as error:
            self._log.warning("drill_not_started", database=name, error=str(error))
            return 0.0
        try:
            async with asyncio.timeout(settings.drill.timeout_s + _GRACE_S):
                while child.poll() is None:  # noqa: ASYNC110 - a process has no event
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            self._log.warning("drill_hangs", database=name)
        finally:
            process.end_group(child)
        self._tell(name, settings)
        return (self._clock.elapsed_ms() - began_ms) / 1000

    def _start(self, name: str, settings: Settings) -> process.Child:
        assert settings.path is not None
        argv: list[str | Path] = [
            sys.executable, "-P", "-m", "obelisk_ops", "-c", settings.path,
            "replica", "drill", name, "--json",
        ]  # fmt: skip
        return process.spawn(argv, env=environment(replica_of(settings)), niceness=_NICENESS)

    def _tell(self, name: str, settings: Settings) -> None:
        entry = None
        with suppress(OpsError):
            entry = Drillbook(settings.state_dir, replica_of(settings).url).entry(name)
        if entry is None:
            self._log.warning("drill_without_result", database=name)
            return
        log = self._log.info if entry.last.outcome == "ok" else self._log.warning
        log(
            f"drill_{entry.last.outcome}", database=name, seconds=entry.last.seconds,
            detail=entry.last.detail,
        )  # fmt: skip
