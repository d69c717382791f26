"""
The lease of this supervisor: drawn or resumed, renewed, confirmed, given back.

One small loop. It renews three times within the lease's time, and ends everything that
writes shortly before that time is over, whether a renewal is under way or not. Until then
nobody else may take what it holds; after that its late objects lie in an epoch of the past.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import CredentialsError, Fenced, OpsError, PreconditionFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica import layout, root
from obelisk_ops.replica.leases import (
    Lease,
    create_lease,
    lease_in,
    read_lease,
    remove_lease,
    write_lease,
)
from obelisk_ops.supervise import fencing
from obelisk_ops.supervise.bucket import Bucket, problem_of
from obelisk_ops.supervise.fencing import Contested, Move, Own
from obelisk_ops.supervise.health import Problem
from obelisk_ops.supervise.party import Party
from obelisk_ops.supervise.rivals import Rivals
from obelisk_ops.supervise.sharing import Shared

if TYPE_CHECKING:
    from obelisk_ops.supervise.fleet import Log

T = TypeVar("T")

#: After a renewal that failed.
_RETRY_MS = 1_000
_REFUSED_MS = 30_000
_LOOK_MAX_MS = 500
_MARKS_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hold:
    """One replica that is ours."""

    claim: int
    epoch: int


class Holder:
    """
    See the module.

    Attributes:
        id: The lease; empty until there is one. Another id means that the last was lost.
        deadline_ms: Until when nobody else may take what it holds.
        problem: Why it cannot be renewed.
        party: Who holds it.
        rivals: What was seen of the leases of others.
    """

    def __init__(
        self,
        party: Party,
        bucket: Bucket,
        clock: Clock,
        log: Log,
        *,
        on_halt: Callable[[Holder], None],
    ) -> None:
        """
        Hold nothing yet.

        Args:
            party: Who.
            bucket: The bucket.
            clock: The time.
            log: Where events go.
            on_halt: Ends everything that writes by this right, at once.
        """
        self.id = ""
        self.deadline_ms = 0
        self.problem: Problem | None = None
        self.party = party
        self.rivals = Rivals(party.prefix, bucket, clock)
        self._bucket, self._clock, self._log = bucket, clock, log
        self._on_halt = on_halt
        self._lease: Lease | None = None
        self._etag = ""
        self._unanswered: Lease | None = None
        self._marks: deque[str] = deque(maxlen=_MARKS_KEPT)
        self._may_resume = True
        self._holds: dict[str, _Hold] = {}
        self._revoked: dict[str, int] = {}
        self._revoked_ms: dict[str, int] = {}
        self._acknowledged: dict[str, int] = {}
        self._due_ms = 0
        self._is_halted = True
        self._renewing: asyncio.Task[None] | None = None
        self._looks = Shared(self._look)
        self._news = asyncio.Event()

    # -- what others ask ----------------------------------------------------------------

    def is_valid(self) -> bool:
        """Tell whether nobody else may have taken what is held."""
        return self._clock.elapsed_ms() < self.deadline_ms

    def may_write(self) -> bool:
        """Tell whether there is time left to write; a little later everything is ended."""
        return self._clock.elapsed_ms() < self._stop_ms

    @property
    def refusal(self) -> Problem | None:
        """Why nothing may be written below this prefix, if nothing may."""
        refused = self.problem is not None and self.problem.code == Fenced.code
        return self.problem if refused else None

    def is_revoked(self, name: str, claim: int) -> bool:
        """Tell whether another machine has taken a replica from this lease."""
        return fencing.is_revoked(self._revoked, name, claim)

    def is_taking_long(self, name: str) -> bool:
        """Tell whether whoever has revoked a claim should have taken it by now."""
        since_ms = self._revoked_ms.get(name, 0)
        patience_ms = fencing.patience_ms(self.party.ttl_ms)
        return self._clock.elapsed_ms() - since_ms >= patience_ms

    def hold(self, name: str, *, claim: int, epoch: int) -> None:
        """Note that a replica is ours, and in which epoch it is written."""
        self._holds[name] = _Hold(claim=claim, epoch=epoch)

    def let_go(self, name: str) -> None:
        """Note that nothing is written to a replica any more; told if that was asked for."""
        self._holds.pop(name, None)
        revoked = self._revoked.get(name)
        if revoked is not None and self._acknowledged.get(name) != revoked:
            self._acknowledged[name] = revoked
            self._hurry()

    async def confirm(self, name: str, epoch: int) -> None:
        """
        Look at the bucket, beginning after this call: was the replica ours all the time?

        Whoever asks while a look is under way shares the next one. What was uploaded before
        the call is then a part of the history, for whoever takes over lists it later.

        Raises:
            Contested: The lease or this replica was lost, or its epoch has ended.
            OpsError: The bucket does not answer.
        """
        before = self.id
        await self._looks.once()
        held = self._holds.get(name)
        if not self.id or self.id != before:
            raise Contested("the lease of this supervisor was lost")
        if held is None or held.epoch != epoch or self.is_revoked(name, held.claim):
            raise Contested(f"epoch {epoch} of '{name}' is not written by this supervisor")

    async def begin(self) -> None:
        """
        Obtain a lease now; ``run`` keeps it.

        Raises:
            OpsError: The bucket does not answer, or refuses.
        """
        await self._obtain()

    # -- the loop -----------------------------------------------------------------------

    async def run(self) -> None:
        """Hold a lease until cancelled."""
        try:
            while True:
                self._step()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._rest_ms() / 1000):
                        await self._news.wait()
                self._news.clear()
        finally:
            if self._renewing:
                self._renewing.cancel()

    def wake(self) -> None:
        """Look at the clock now."""
        self._news.set()

    async def release(self) -> None:
        """
        Give the lease back: what it held is free at once. Call it when nothing writes.

        Raises:
            OpsError: The bucket does not answer; the lease runs out by itself.
        """
        lease = self.id
        self._forget()
        if self._bucket.problem is not None:
            return  # a stop does not wait for it
        if lease:
            prefix = self.party.prefix
            await self._bucket.call(
                lambda store: remove_lease(store, prefix, lease), is_write=True, is_urgent=True
            )
        self.party.forget(lease)

    def _step(self) -> None:
        move = fencing.next_move(
            now_ms=self._clock.elapsed_ms(),
            stop_ms=self._stop_ms,
            due_ms=self._due_ms,
            is_asking=self._renewing is not None and not self._renewing.done(),
            is_halted=self._is_halted,
        )
        match move:
            case Move.HALT:
                self._log.warning("lease_lapsed", lease=self.id, note="nothing is written")
                self._halt()
            case Move.RENEW:
                self._renewing = asyncio.ensure_future(self._renew())
            case Move.WAIT:
                pass

    @property
    def _stop_ms(self) -> int:
        return self.deadline_ms - fencing.guard_ms(self.party.ttl_ms)

    def _rest_ms(self) -> int:
        now_ms = self._clock.elapsed_ms()
        events = [_LOOK_MAX_MS] if self._is_halted else [_LOOK_MAX_MS, self._stop_ms - now_ms]
        return max(1, min(events))

    def _hurry(self) -> None:
        self._due_ms = self._clock.elapsed_ms()
        self._news.set()

    def _halt(self) -> None:
        self._is_halted = True
        self._on_halt(self)

    async def _renew(self) -> None:
        self._due_ms = self._clock.elapsed_ms() + _RETRY_MS
        try:
            if self._lease is None:
                await self._obtain()
            else:
                await self._write(self._lease)
        except OpsError as error:
            self._note(error)
        else:
            self.problem = None
        finally:
            self._news.set()

    async def _write(self, before: Lease) -> None:
        # The same bytes again, as long as it is not known whether they were written.
        lease = self._unanswered = self._unanswered or self._renewed(before)
        sent_ms, prefix, etag = self._clock.elapsed_ms(), self.party.prefix, self._etag
        try:
            written = await self._ask(
                lambda store: write_lease(store, prefix, lease, etag), is_write=True
            )
        except PreconditionFailed:
            await self._read_again()
        else:
            self._wrote(lease, written, sent_ms)

    def _renewed(self, before: Lease) -> Lease:
        return replace(
            before,
            pid=os.getpid(),
            ttl_ms=self.party.ttl_ms,
            mark=secrets.token_hex(8),
            renewed_at_ms=self._clock.now_ms(),
            revoked=dict(self._revoked),
            acknowledged=dict(self._acknowledged),
        )

    def _wrote(self, lease: Lease, etag: str, sent_ms: int) -> None:
        self._knows(lease, etag)
        self.id = lease.id
        self.deadline_ms = sent_ms + lease.ttl_ms
        self._due_ms = sent_ms + fencing.renew_every_ms(lease.ttl_ms)
        if lease.acknowledged != self._acknowledged:
            self._hurry()
        if self._is_halted:
            self._log.info("lease_held", lease=lease.id)
        self._is_halted = False

    def _knows(self, lease: Lease, etag: str) -> None:
        self._lease, self._etag, self._unanswered = lease, etag, None
        self._marks.append(lease.mark)

    async def _read_again(self) -> None:
        """Find out what the lease is now: our own write without an answer, or not ours."""
        prefix, lease_id = self.party.prefix, self._lease.id if self._lease else ""
        seen = await self._ask(lambda store: read_lease(store, prefix, lease_id))
        if self._saw(seen.lease if seen else None) and seen:
            self._knows(seen.lease, seen.etag)
            self._hurry()

    def _saw(self, read: Lease | None) -> bool:
        """Take note of our lease as it was read; tell whether it is still ours."""
        unanswered = [self._unanswered.mark] if self._unanswered else []
        if read is None or fencing.judge_own(read, [*self._marks, *unanswered]) is Own.LOST:
            why = "it is gone" if read is None else "another process goes on with it"
            self._log.warning("lease_lost", lease=self.id, why=why)
            self._forget()
            self._halt()
            self._hurry()
            return False
        for name, claim in read.revoked.items():
            if not self.is_revoked(name, claim):
                self._revoked[name] = claim
                self._revoked_ms[name] = self._clock.elapsed_ms()
                self._log.warning("revoked", database=name, claim=claim)
                self._hurry()
        return True

    def _forget(self) -> None:
        self.id, self.deadline_ms = "", 0
        self._lease, self._etag, self._unanswered = None, "", None
        # Who lost it once never takes it up again: it may be another's now.
        self._may_resume = False
        self._marks.clear()
        self._holds.clear()
        self._revoked.clear()
        self._acknowledged.clear()

    # -- a lease to begin with ------------------------------------------------------------

    async def _obtain(self) -> None:
        prefix = self.party.prefix
        if not await self._ask(lambda store: root.exists(store, prefix)):
            await self._ask(lambda store: root.found(store, prefix), is_write=True)
        kept = self.party.kept() if self._may_resume else None
        if kept is not None:
            seen = await self._ask(lambda store: read_lease(store, prefix, kept))
            if seen is not None:
                self._revoked = dict(seen.lease.revoked)
                self._acknowledged = dict(seen.lease.acknowledged)
                self._knows(seen.lease, seen.etag)
                await self._write(seen.lease)
                return
        await self._create()

    async def _create(self) -> None:
        party = self.party
        lease = Lease(
            # Never tried twice: the first try may be carried out late.
            id=secrets.token_hex(8),
            host=party.host,
            boot_id=party.boot_id,
            pid=os.getpid(),
            ttl_ms=party.ttl_ms,
            mark=secrets.token_hex(8),
            renewed_at_ms=self._clock.now_ms(),
        )
        party.keep(lease.id)
        sent_ms = self._clock.elapsed_ms()
        etag = await self._ask(
            lambda store: create_lease(store, party.prefix, lease), is_write=True
        )
        self._wrote(lease, etag, sent_ms)

    # -- looks at the bucket --------------------------------------------------------------

    async def _look(self) -> None:
        lease_id, prefix = self.id, self.party.prefix
        if not lease_id:
            raise Contested("this supervisor holds no lease")
        found = await self._bucket.look(layout.lease(prefix, lease_id))
        seen = lease_in(found) if found else None
        if lease_id == self.id:
            self._saw(seen.lease if seen else None)

    async def _ask(self, request: Callable[[ObjectStore], T], *, is_write: bool = False) -> T:
        return await self._bucket.call(request, is_write=is_write, is_urgent=True)

    def _note(self, error: OpsError) -> None:
        same = self.problem is not None and self.problem.code == error.code
        now_ms = self._clock.elapsed_ms()
        since_ms = self.problem.since_ms if same and self.problem else now_ms
        # It may answer who reads: then this is all there is to tell of it.
        self.problem = problem_of(error, since_ms=since_ms, what="the lease cannot be renewed")
        if isinstance(error, CredentialsError):
            self._bucket.reconnect()  # others may be in their file by the next time
        if isinstance(error, Fenced):
            self._due_ms = now_ms + _REFUSED_MS  # it takes a person to change that
        if not same:
            self._log.warning("lease_refused", code=error.code, detail=error.message)
