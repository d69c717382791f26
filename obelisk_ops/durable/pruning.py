"""
Forgetting what is over, in slices between the rounds of the engine.

A request stays in the mailbox until all of it is done: who is killed meanwhile leaves it to
the next owner, who begins again and finds what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.ports import Letter
from obelisk_ops.core.retention import Report, Wanted, slices
from obelisk_ops.core.rows import PrunedRow
from obelisk_ops.durable.log import log
from obelisk_ops.durable.scheduler import Scheduler
from obelisk_ops.errors import OpsError

_PAUSE_S = 0.001
_TRY_AGAIN_S = 1.0


class Pruning:
    """See the module. One request after the other; never more than half of the time."""

    def __init__(self, store: ArchiveStore, scheduler: Scheduler) -> None:
        self._store = store
        self._engine = scheduler
        self._loop = asyncio.get_running_loop()
        self._requests: dict[int, Wanted] = {}  # by the number of the letter, oldest first
        self._slices: Iterator[list[PrunedRow]] = iter(())
        self._report = Report()
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self, letter: Letter) -> None:
        """
        Do what a letter asks for, and take it out of the mailbox when that is done.

        Raises:
            msgspec.DecodeError: A later version wrote it.
        """
        if letter.id not in self._requests:
            self._requests[letter.id] = msgspec.json.decode(letter.body, type=Wanted)
            if len(self._requests) == 1:
                self._idle.clear()
                self._start()

    async def idle(self) -> None:
        """Return when nothing is asked for any more."""
        await self._idle.wait()

    def _start(self) -> None:
        self._report = Report()
        wanted = next(iter(self._requests.values()))
        self._slices = slices(self._store, wanted, self._report)
        self._engine.post(self._step)

    def _step(self) -> None:
        began = self._loop.time()
        try:
            rows = next(self._slices, None)
        except OpsError as error:
            log.warning("prune_failed", error=error.message)
            self._loop.call_later(_TRY_AGAIN_S, self._start)
            return
        if rows is None:
            self._finish()
        elif rows:
            turn = self._engine.open()
            turn.write.pruned = rows
            turn.effects.append((self._breathe, (began,)))
        else:
            self._breathe(began)

    def _breathe(self, began: float) -> None:
        """Leave the engine to others for as long as this slice took."""
        took = self._loop.time() - began
        self._loop.call_later(max(took, _PAUSE_S), self._engine.post, self._step)

    def _finish(self) -> None:
        letter = next(iter(self._requests))
        turn = self._engine.open()
        turn.write.letters_done = (letter,)
        turn.effects.append((self._finished, (letter,)))

    def _finished(self, letter: int) -> None:
        log.info("pruned", executions=self._report.executions, events=self._report.events)
        del self._requests[letter]
        if self._requests:
            self._start()
        else:
            self._idle.set()
