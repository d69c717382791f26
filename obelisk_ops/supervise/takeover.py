"""
Move a database to this machine, also from one that cannot be asked.

    foresee → claim → wait until the old owner has let go → restore → open the next epoch

What is known to fail is refused while the old owner still goes on (``foresee``). Then the claim
comes first: whatever the old owner ships before it lets go is listed by the restore, and
what it ships later is of an epoch that is over. If anything fails, what was claimed is
given back, and the old owner goes on. A takeover that was cut short after the restore is taken
up by the next one, as long as nobody has gone on since.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.when import Latest, Txid, When
from obelisk_ops.errors import Fenced, OpsError, PreconditionFailed, ReplicaNotFound
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, newest_epoch
from obelisk_ops.replica.leases import (
    NOBODY,
    Ownership,
    SeenLease,
    SeenOwnership,
    read_lease,
    read_ownership,
    revoke,
    write_ownership,
)
from obelisk_ops.restore import service
from obelisk_ops.restore.service import Plan, Progress, Restored, Source
from obelisk_ops.restore.target import check_sidecars, check_target
from obelisk_ops.supervise import identity
from obelisk_ops.supervise.background import Background
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.claiming import next_claim
from obelisk_ops.supervise.fencing import is_revoked, patience_ms
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.opening import Presence, settle
from obelisk_ops.supervise.ownership import File, Owner
from obelisk_ops.supervise.ownership import Restored as Note
from obelisk_ops.supervise.sidecar import Sidecar

_RACES_MAX = 5
_LOOK_S = 0.5
_NOT_YET = 0  # no epoch has this number
_pause = threading.Event()

#: told what is going on, in words
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    Whose a replica is.

    Attributes:
        marker: Its newest epoch.
        ownership: Who owns it; None if nobody has ever claimed it.
        lease: The owner's lease; None if it holds nothing any more.
    """

    marker: EpochMarker
    ownership: SeenOwnership | None
    lease: SeenLease | None

    @property
    def host(self) -> str:
        """The machine of the owner, or of who opened the epoch."""
        return self.ownership.ownership.host if self.ownership else self.marker.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """
    What was taken over.

    Attributes:
        was: Whose it was.
        ended: How the old owner let go: ``free``, ``acknowledged``, ``released``, ``ran out``.
        waited_s: How long that took.
        restored: The copy.
        owner: The note of the new epoch.
    """

    was: Standing
    ended: str
    waited_s: float
    restored: Restored
    owner: Owner


def look(source: Source) -> Standing:
    """
    Return whose a replica is; nothing is written.

    Raises:
        ReplicaNotFound: There is no such replica.
    """
    store, keys = source.store, source.keys
    marker = newest_epoch(store, keys)
    if marker is None:
        raise ReplicaNotFound(
            f"there is no backup named '{keys.name}'",
            hint="see what there is: obelisk-ops replica list",
        )
    owned = read_ownership(store, keys)
    lease = None
    if owned is not None and owned.ownership.lease != NOBODY:
        lease = read_lease(store, keys.prefix, owned.ownership.lease)
    return Standing(marker=marker, ownership=owned, lease=lease)


def left_behind(name: str, target: Path) -> Note | None:
    """
    Return the note of an untouched copy that a restore of *name* has left at the target.

    None if nothing is there.

    Raises:
        TargetExists: Something else is there.
        StorageUnavailable: Its folder is missing, or may not be written.
        StaleSidecar: An old log is beside it.
    """
    note = Sidecar(target).restored()
    try:
        found = target.lstat()
    except OSError:
        note = None
    else:
        is_untouched = note is not None and found.st_mtime_ns // 1_000_000 <= note.at_ms
        if not is_untouched or note is None or (note.name, note.inode) != (name, found.st_ino):
            note = None
    if note is None:
        check_target(target)
    else:
        check_sidecars(target)
    return note


def foresee(
    source: Source, wish: When, target: Path, *, clock: Clock, left: Note | None
) -> Plan:
    """
    Return what a takeover would restore, or take up; nothing is written.

    Raises:
        OpsError: It would fail, as things stand; see ``service.foresee``.
    """
    copy = _state_of(left) if left else None
    return service.foresee(source, wish, target, clock=clock, copy=copy)


def _state_of(note: Note) -> Txid:
    return Txid(note.txid, note.epoch)


class Takeover:
    """One takeover, by one lease of its own."""

    def __init__(
        self,
        source: Source,
        target: Path,
        *,
        lease: Holder,
        bucket: Bucket,
        clock: Clock,
        tell: Tell,
    ) -> None:
        self._source, self._target = source, target
        self._lease, self._bucket, self._clock = lease, bucket, clock
        self._tell = tell
        self._name = source.keys.name

    def run(self, wish: When, progress: Progress) -> Taken:
        """
        Take the replica over, and leave a copy at the target that is ready to run.

        Raises:
            ReplicaNotFound: There is no such replica.
            TargetExists, StaleSidecar: Something is at the target, or beside it.
            DatabaseLocked: A supervisor of this machine looks after the target.
            Fenced: Others took it at the same time.
            OpsError: See ``foresee``, ``service.restore`` and ``settle``.
        """
        left = left_behind(self._name, self._target)
        look(self._source)  # first: where there is nothing to take, no lease is needed
        foresee(self._source, wish, self._target, clock=self._clock, left=left)
        sidecar = Sidecar(self._target)
        lock = sidecar.lock()
        try:
            with Background() as loop, self._held(loop):
                was, ours, revoked_ms = self._claim()
                self._tell(f"claimed; it was owned by {was.host}")
                began_ms = self._clock.elapsed_ms()
                ended = self._wait(was, revoked_ms)
                waited_s = (self._clock.elapsed_ms() - began_ms) / 1000
                self._tell(f"the old owner has let go ({ended}); restoring")
                restored = self._restore(wish, progress, ours, left)
                owner = self._open(loop, ours, sidecar)
        finally:
            sidecar.remove_blank(lock)  # of one that failed
            lock.release()
        return Taken(was=was, ended=ended, waited_s=waited_s, restored=restored, owner=owner)

    @contextmanager
    def _held(self, loop: Background) -> Iterator[None]:
        loop.call(self._lease.begin())
        running = loop.start(self._lease.run())
        try:
            yield
        finally:
            running.cancel()
            # What was claimed and not opened is free again; what was opened has an epoch.
            with suppress(OpsError):  # or when the lease has run out
                loop.call(self._lease.release())

    # -- claim ----------------------------------------------------------------------------

    def _claim(self) -> tuple[Standing, Ownership, int]:
        store, keys = self._source.store, self._source.keys
        for _ in range(_RACES_MAX):
            was = look(self._source)
            try:
                self._revoke(store, was)
                revoked_ms = self._clock.elapsed_ms()
                ours = next_claim(was.ownership, self._lease, self._clock)
                write_ownership(store, keys, ours, was.ownership)
            except PreconditionFailed:
                continue  # renewed, or claimed, since it was looked at
            return was, ours, revoked_ms
        raise Fenced(
            f"others keep claiming '{self._name}'", hint="see who else takes it over, and wait"
        )

    def _revoke(self, store: ObjectStore, was: Standing) -> None:
        if was.lease is not None and was.ownership is not None:
            claim = was.ownership.ownership.claim
            if not is_revoked(was.lease.lease.revoked, self._name, claim):
                revoke(store, self._source.keys.prefix, was.lease, self._name, claim)

    # -- wait -----------------------------------------------------------------------------

    def _wait(self, was: Standing, revoked_ms: int) -> str:
        if was.lease is None or was.ownership is None:
            return "free"
        lease, claim = was.lease.lease, was.ownership.ownership.claim
        # Whatever it renewed before it was revoked is over by then, however it renewed.
        until_ms = revoked_ms + patience_ms(lease.ttl_ms)
        while (rest_ms := until_ms - self._clock.elapsed_ms()) > 0:
            with suppress(OpsError):  # time passes without an answer, too
                seen = read_lease(self._source.store, self._source.keys.prefix, lease.id)
                if seen is None:
                    return "released"
                if is_revoked(seen.lease.acknowledged, self._name, claim):
                    return "acknowledged"
            self._tell(f"waiting for {was.host} to let go, at most {rest_ms / 1000:.0f} s more")
            _pause.wait(min(_LOOK_S, rest_ms / 1000))
        return "ran out"

    # -- restore --------------------------------------------------------------------------

    def _restore(
        self, wish: When, progress: Progress, ours: Ownership, left: Note | None
    ) -> Restored:
        if left is not None:
            # Cut short or not: who has opened an epoch, and who was about to, leave the same.
            self._tell("an earlier takeover has left its copy, untouched since: taken up")
            return service.take_up(
                self._source, wish, self._target, clock=self._clock, copy=_state_of(left)
            )
        return service.restore(
            self._source, wish, self._target, clock=self._clock, progress=progress,
            claim=ours.claim if isinstance(wish, Latest) else None,
        )  # fmt: skip

    # -- open -----------------------------------------------------------------------------

    def _open(self, loop: Background, ours: Ownership, sidecar: Sidecar) -> Owner:
        keys, party = self._source.keys, self._lease.party
        file = File(
            name=self._name,
            host=party.host,
            inode=self._target.stat().st_ino,
            database_id=identity.database_id(self._target),
        )
        presence = Presence(
            boot_id=party.boot_id,
            socket=None,
            pid=os.getpid(),
            now_ms=self._clock.now_ms(),
            ownership=ours,
        )
        # If this machine slept since the claim, another one may have gone on meanwhile.
        self._lease.hold(self._name, claim=ours.claim, epoch=_NOT_YET)
        loop.call(self._lease.confirm(self._name, _NOT_YET))
        opened = loop.call(settle(self._bucket, keys, file, sidecar, presence))
        self._lease.hold(self._name, claim=ours.claim, epoch=opened.owner.epoch)
        loop.call(self._lease.confirm(self._name, opened.owner.epoch))
        return replace(opened.owner, pid=None)
