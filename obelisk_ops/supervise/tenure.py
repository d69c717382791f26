"""The right to replicate one file, on this machine and in the bucket; tells the engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from obelisk_ops.errors import (
    BackupMissing,
    CredentialsError,
    DatabaseLocked,
    Fenced,
    OpsError,
    StorageUnavailable,
)
from obelisk_ops.process import boot_id
from obelisk_ops.replica.epochs import newest_epoch
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.leases import Ownership
from obelisk_ops.supervise import identity
from obelisk_ops.supervise.bucket import problem_of
from obelisk_ops.supervise.claiming import Owned, claim, give_back
from obelisk_ops.supervise.fencing import Contested, renew_every_ms
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Problem, words_for_ms
from obelisk_ops.supervise.opening import (
    Opened,
    Outdated,
    Presence,
    refuse_outdated,
    settle,
)
from obelisk_ops.supervise.ownership import File, Occupant, Owner
from obelisk_ops.supervise.sidecar import Lock, Sidecar

_RETRY_MS = 2_000
_SOON_MS = 200
#: How often the epoch of another owner is looked up; it is only told.
_OTHERS_MS = 60_000
_NO_LEASE = "this supervisor has no lease yet"


class Tenure:
    """
    The right to replicate the file that is at a path now.

    Attributes:
        owner: The note of its epoch; None until it is known.
        refusal: Why this machine may not replicate it.
        occupant: Who may, as far as that is known.
        problem: Why its epoch cannot be found out.
        waiting: What has to happen first, if anything has.
        is_undecided: Whether whoever it is refused for may be dead, or may not have taken it.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        sidecar: Sidecar,
        fleet: Fleet,
        on_news: Callable[[], None],
    ) -> None:
        self.owner: Owner | None = None
        self.refusal: Problem | None = None
        self.occupant = Occupant()
        self.problem: Problem | None = None
        self.waiting = ""
        self.is_undecided = False
        self._name, self._path = name, path
        self._sidecar, self._fleet = sidecar, fleet
        self._on_news = on_news
        self._lock: Lock | None = None
        self._files = fleet.files_each
        self._due_ms = 0
        self._seeking: asyncio.Task[None] | None = None
        self._stamped: int | None = None
        self._claimed: Ownership | None = None
        self._looked_ms: int | None = None

    def look_at_lease(self, *, is_at_rest: bool) -> bool:
        """
        Tell whether the right was lost, and tell the engine how long it lasts.

        Args:
            is_at_rest: Whether nothing writes to the replica.
        """
        lease, owner = self._fleet.lease, self.owner
        is_lost = owner is not None and (
            owner.lease != lease.id or lease.is_revoked(self._name, owner.claim)
        )
        if is_lost:
            self.end()
            self._refuse("fenced", "another machine may have taken it over", is_undecided=True)
        # While it is being claimed the lease holds it already, and is asked about it.
        if is_at_rest and self.owner is None and not self.is_seeking:
            lease.let_go(self._name)
        self._stamp()
        return is_lost

    @property
    def _is_ours(self) -> bool:
        """Tell whether the replica was claimed by the lease of now, and not taken since."""
        claimed, lease = self._claimed, self._fleet.lease
        if claimed is None or claimed.lease != lease.id:
            return False
        return not lease.is_revoked(self._name, claimed.claim)

    @property
    def is_seeking(self) -> bool:
        """Tell whether the epoch is being found out now; it says when it is."""
        return self._seeking is not None and not self._seeking.done()

    @property
    def is_hopeful(self) -> bool:
        """Tell whether the epoch is not known yet, and nothing stands in its way."""
        trouble = self.refusal or self.problem or self._fleet.bucket.problem
        return self.owner is None and not trouble and self.waiting in {"", _NO_LEASE}

    def seek(self, inode: int) -> None:
        """Begin to find out the epoch of the file, if it is time to."""
        if self.owner is not None or self.is_seeking:
            return
        now_ms = self._fleet.clock.elapsed_ms()
        if now_ms >= self._due_ms and self._fleet.bucket.is_ready():
            self._due_ms = now_ms + _RETRY_MS
            self._seeking = asyncio.ensure_future(self._seek(inode))

    def end(self) -> None:
        """Forget the epoch: there is another file now, or none."""
        if self._seeking:
            self._seeking.cancel()
        self.owner = self.refusal = self.problem = None
        self.is_undecided = False
        self._due_ms = 0

    def supersede(self, epoch: int) -> None:
        """Stop for another machine that has opened a later epoch, and seek anew."""
        self.end()
        # Who seeks finds the replica to be his no more, and gives back what he still claims.
        text = f"another machine has opened epoch {epoch}; this file is out of date"
        self._refuse("fenced", text, by=Occupant(epoch=epoch))

    def release(self) -> None:
        """Give the lock back; from now on the engine asks nobody, unless it was fenced."""
        if self._seeking:
            self._seeking.cancel()
        lease = self._fleet.lease
        if self._is_ours and lease.is_valid():
            self._write_stamp(None)
        lease.let_go(self._name)
        if self._lock:
            self._give_lock_back(self._lock)

    async def _seek(self, inode: int) -> None:
        try:
            async with self._fleet.seekers:
                opened = await self._try(inode)
        except (Fenced, DatabaseLocked) as error:
            is_undecided = isinstance(error, Contested)
            by = self._occupant_by(error)
            self._refuse(error.code, _with_hint(error), is_undecided=is_undecided, by=by)
        except BackupMissing as error:
            self.problem = self._problem(error.code, _with_hint(error))
        except OpsError as error:
            # What concerns everybody is kept by the bucket.
            if self._fleet.bucket.problem is None or isinstance(error, CredentialsError):
                since_ms = self._problem(error.code, error.message).since_ms
                self.problem = problem_of(error, since_ms=since_ms)
        else:
            if opened is not None:
                self._begin(opened)
        finally:
            self._on_news()

    async def _try(self, inode: int) -> Opened | None:
        seen = identity.identify(self._path)
        self.waiting = "the file is empty" if seen and seen.is_empty else ""
        if seen is None or seen.is_empty or seen.inode != inode:
            return None
        if not seen.is_database:
            text = f"{self._path} is not an SQLite database"
            self.problem = self._problem("corrupt_database", text)
            return None
        fleet = self._fleet
        if not fleet.lease.may_write():
            self.waiting = _NO_LEASE
            self._due_ms = fleet.clock.elapsed_ms() + _SOON_MS
            return None
        self._take_lock()
        keys = ReplicaKeys(prefix=fleet.replica.prefix, name=self._name)
        file = File(
            name=self._name,
            host=fleet.host,
            inode=inode,
            database_id=identity.database_id(self._path),
        )
        has_past = self._sidecar.owner() is not None or self._sidecar.restored() is not None
        is_absent = not has_past and await fleet.census.lacks(self._name)
        claimed = await claim(
            fleet.bucket, keys, fleet.lease, fleet.clock,
            before_taking=lambda: refuse_outdated(fleet.bucket, keys, file, self._sidecar),
            is_absent=is_absent,
        )  # fmt: skip
        if isinstance(claimed, Owned):
            self._refuse_owned(claimed)
            await self._look_at_others(keys)
            return None
        self._claimed = claimed
        is_first = is_absent and claimed.claim == 1
        return await self._settle(keys, file, claimed, is_absent=is_first)

    async def _settle(
        self, keys: ReplicaKeys, file: File, claimed: Ownership, *, is_absent: bool
    ) -> Opened:
        fleet, presence = self._fleet, self._presence(claimed)
        try:
            opened = await settle(
                fleet.bucket, keys, file, self._sidecar, presence, is_absent=is_absent
            )
        except Fenced:
            await give_back(fleet.bucket, keys, fleet.lease)
            raise
        epoch = opened.owner.epoch
        fleet.lease.hold(self._name, claim=claimed.claim, epoch=epoch)
        # If this machine slept since the claim, another one may have taken it meanwhile.
        await fleet.lease.confirm(self._name, epoch)
        return opened

    def _presence(self, claimed: Ownership) -> Presence:
        fleet = self._fleet
        return Presence(
            boot_id=boot_id(),
            socket=str(fleet.control),
            pid=os.getpid(),
            now_ms=fleet.clock.now_ms(),
            ownership=claimed,
            deadline_ms=fleet.lease.deadline_ms,
        )

    def _begin(self, opened: Opened) -> None:
        self.refusal = self.problem = None
        self.is_undecided = False
        self.owner, self._stamped = opened.owner, opened.owner.lease_deadline_ms
        event = "epoch_opened" if opened.is_new else "epoch_continued"
        self._fleet.log.info(event, database=self._name, epoch=self.owner.epoch)

    def _refuse(
        self, code: str, text: str, *, is_undecided: bool = False, by: Occupant | None = None
    ) -> None:
        self._claimed = None
        self.occupant = by or Occupant()
        self.refusal = self._problem(code, text)
        self.problem = None
        self.is_undecided = is_undecided

    def _refuse_owned(self, owned: Owned) -> None:
        look, fleet = owned.look, self._fleet
        age = words_for_ms(look.age_ms)
        text = f"owned by {owned.host} (its lease was renewed {age} ago)"
        known = self.occupant if self.occupant.host == owned.host else Occupant()
        by = Occupant(host=owned.host, epoch=known.epoch)
        self._refuse("fenced", text, is_undecided=not look.is_proven, by=by)
        rest_ms = min(look.rest_ms, renew_every_ms(fleet.lease.party.ttl_ms))
        self._due_ms = fleet.clock.elapsed_ms() + max(rest_ms, _SOON_MS)

    async def _look_at_others(self, keys: ReplicaKeys) -> None:
        now_ms, epoch = self._fleet.clock.elapsed_ms(), self.occupant.epoch
        if epoch and self._looked_ms is not None and now_ms - self._looked_ms < _OTHERS_MS:
            return
        with suppress(OpsError):
            marker = await self._fleet.bucket.call(lambda store: newest_epoch(store, keys))
            if marker is not None:
                self._looked_ms = now_ms
                self.occupant = replace(self.occupant, epoch=marker.epoch)

    def _occupant_by(self, error: OpsError) -> Occupant | None:
        if isinstance(error, Outdated):
            return error.by
        note = self._sidecar.owner() if isinstance(error, DatabaseLocked) else None
        return Occupant(host=note.host, epoch=note.epoch) if note else None

    def _take_lock(self) -> None:
        if self._lock is not None and self._lock.is_current():
            return
        # The folder was removed and made again: the old lock no longer keeps anybody out.
        if self._lock is not None:
            self._give_lock_back(self._lock)
        files = self._fleet.files
        files.take(self._files)
        try:
            self._lock = self._sidecar.lock()
        except OpsError:
            files.give_back(self._files)
            raise

    def _give_lock_back(self, lock: Lock) -> None:
        lock.release()
        self._lock = None
        self._fleet.files.give_back(self._files)

    # -- what the engine is told --------------------------------------------------------

    def _stamp(self) -> None:
        if self.refusal:
            deadline_ms = 0
        elif self._is_ours:
            deadline_ms = self._fleet.lease.deadline_ms
        else:
            return  # until it is known whose it is, what was told before holds
        if deadline_ms != self._stamped:
            self._write_stamp(deadline_ms)

    def _write_stamp(self, deadline_ms: int | None) -> None:
        self._stamped = deadline_ms
        if self._lock is None:
            return  # the note is that of another supervisor
        # Where it cannot be written, the engine stops when the last one is over.
        with suppress(StorageUnavailable):
            self._sidecar.stamp(deadline_ms, boot_id())

    def _problem(self, code: str, text: str) -> Problem:
        before = self.problem or self.refusal
        if before is not None and before.code == code:
            return Problem(code=code, text=text, since_ms=before.since_ms)
        return Problem(code=code, text=text, since_ms=self._fleet.clock.elapsed_ms())


def _with_hint(error: OpsError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
