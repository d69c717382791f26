"""Executions of other workers: who waits here for their end, and who asks something of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from hashlib import md5

import msgspec

from obelisk_ops.core import failures
from obelisk_ops.core.events import Failure
from obelisk_ops.core.polling import waits
from obelisk_ops.core.ports import LogReader, State
from obelisk_ops.core.workers import Shared
from obelisk_ops.durable.commits import closed_error
from obelisk_ops.durable.mailroom import DEAF, EVERYBODY, Bell
from obelisk_ops.durable.scheduler import Scheduler
from obelisk_ops.errors import OpsError
from obelisk_ops.storage import Address, open_mailbox

_OVER = (State.FINISHED, State.PARKED)

#: how often it is looked where ends are heard: one may be missed
_LOOK_S = 1.0
_ANSWER_S = 2.0
_ANSWER_POLL_S = 0.01


class Ends:
    """
    Who is to look again when an execution has ended.

    Attributes:
        is_listening: Whether ends are heard; else it is looked, often at first.
    """

    def __init__(self) -> None:
        self.is_listening = False
        self._waiters: dict[str, set[asyncio.Event]] = {}

    def heard(self, said: Iterable[str]) -> None:
        """Let those look again whom it concerns; see ``Ears.hear``."""
        for word in said:
            kind, _, name = word.partition(" ")
            for event in self._waiters.get(name, ()) if kind == "end" else ():
                event.set()

    def stir(self) -> None:
        """Let all look again."""
        for events in self._waiters.values():
            for event in events:
                event.set()

    async def wait(
        self, latest: Callable[[], str], has_ended: Callable[[str], bool],
        note: Callable[[str], None],
    ) -> None:  # fmt: skip
        """
        Return when an execution has ended, or what went on in its place.

        Args:
            latest: Returns the id of the one that goes on.
            has_ended: Looks whether that has ended.
            note: Has whoever ends it tell so.
        """
        for wait_s in waits():
            execution_id = latest()
            name = md5(execution_id.encode(), usedforsecurity=False).hexdigest()
            event = asyncio.Event()
            self._waiters.setdefault(name, set()).add(event)
            try:
                note(execution_id)
                if has_ended(execution_id):
                    return
                async with asyncio.timeout(_LOOK_S if self.is_listening else wait_s):
                    await event.wait()
            except TimeoutError:
                pass
            finally:
                self._waiters[name].discard(event)
                if not self._waiters[name]:
                    del self._waiters[name]


def check_refusal(reader: LogReader, letter: int) -> None:
    """
    Return if a letter was not refused.

    Raises:
        OpsError: It was: this is why.
    """
    refusal = reader.find_refusal(letter)
    if refusal is not None:
        raise failures.rebuild(msgspec.json.decode(refusal[2], type=Failure))


class Others:
    """
    What this worker sees of executions that others have.

    Attributes:
        ends: Who waits for their ends.
    """

    def __init__(
        self, address: Address, shared: Shared, reader: LogReader, scheduler: Scheduler,
        bell: Bell,
    ) -> None:  # fmt: skip
        self.ends = Ends()
        bell.pulse, self._bell = self._pulse, bell
        self._address, self._shared, self._reader = address, shared, reader
        self._scheduler = scheduler

    def _pulse(self) -> tuple[int, int]:
        return self._shared.commits, 1 + self._scheduler.fellows

    def heard(self, said: Collection[str], deliver: Callable[[], object]) -> bool:
        """Do what was heard (see ``Ears.hear``); return whether to look at the others now."""
        me = self._shared.id
        self.ends.heard(said)
        if {EVERYBODY, f"letter {me}", DEAF} & {*said}:
            deliver()
        elif f"done {me}" in said:
            self._scheduler.offers.look()
        return bool({"left", f"gift {me}", f"call {me}", DEAF} & {*said})

    def has(self, execution_id: str) -> bool:
        """Tell whether another worker has an unfinished execution, or will have it."""
        if self._scheduler.roster.find(execution_id) is not None:
            return False
        row = self._reader.find(execution_id)
        if row is None or row.state in _OVER:
            return False
        if not self._shared.is_mine(row.key):
            return True
        is_unserved = self._scheduler.nursery.is_unserved(row)
        return is_unserved and row.function in self._scheduler.served_elsewhere

    async def ended(self, execution_id: str) -> None:
        """
        Return when one has ended.

        Raises:
            OpsError: This worker has ended before, or was fenced.
        """

        def latest() -> str:
            self._scheduler.check()
            if self._scheduler.is_closed:
                raise closed_error()
            return self._scheduler.nursery.latest(execution_id)

        def has_ended(name: str) -> bool:
            row = self._scheduler.store.find(name)
            return row is not None and row.state in _OVER

        self.ends.is_listening = not self._bell.is_barred
        await self.ends.wait(latest, has_ended, self._shared.note_waiting)

    async def answered(self, letter: int) -> None:
        """
        Return when a letter was answered; or after a while, if nobody is there.

        Raises:
            OpsError: It was refused.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                while self._shared.is_waiting(letter):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_ANSWER_POLL_S)
        check_refusal(self._reader, letter)

    def cancel(self, execution_id: str) -> None:
        """Ask for the end of an execution, whoever has it; it may have ended meanwhile."""
        with suppress(OpsError), closing(open_mailbox(self._address)) as mailbox:
            now_ms = self._scheduler.now_ms()
            mailbox.ask("cancel", execution_id, "{}", now_ms=now_ms)
