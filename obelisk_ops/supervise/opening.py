"""Find out which epoch a file goes into, and open a new one where it must have its own."""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, replace
from typing import Any

from obelisk_ops.errors import BackupMissing, Fenced, PreconditionFailed
from obelisk_ops.litestream.local import last_before_log, newest_txid
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, Parent, newest_epoch, open_epoch
from obelisk_ops.replica.layout import MARKERS_FOLDER, ReplicaKeys
from obelisk_ops.replica.leases import Ownership, read_ownership
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.fencing import Contested
from obelisk_ops.supervise.ownership import (
    Continue,
    Decision,
    Doubt,
    File,
    Missing,
    OpenNext,
    Owner,
    Refuse,
    decide_epoch,
    end_if_claimed,
    end_if_in_doubt,
    newest_meant,
)
from obelisk_ops.supervise.position import Remote, read_remote
from obelisk_ops.supervise.sidecar import TRUSTED, Sidecar

_RACES_MAX = 5
_SALTS = struct.Struct(">II")


class Outdated(Fenced):
    """The file is out of date; ``by`` says who has gone on, and in which epoch."""

    def __init__(self, refusal: Refuse, *, hint: str) -> None:
        super().__init__(refusal.reason, hint=hint)
        self.by = refusal.by


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """
    Who opens, and by what right: written into the note beside the database.

    Attributes:
        boot_id: This run of the machine.
        socket: Where the supervisor listens; None if it is none.
        pid: The process.
        now_ms: UTC milliseconds. For people.
        ownership: The claim on the replica; None only where there can be no other.
        deadline_ms: How long that is sure, see Owner.
    """

    boot_id: str
    socket: str | None
    pid: int
    now_ms: int
    ownership: Ownership | None = None
    deadline_ms: int | None = None

    def follows_others(self, owner: Owner | None) -> bool:
        """
        Tell whether another machine can have claimed the replica since the note was written.

        Leases alone do not say it: there may be others between two claims by one lease.
        """
        ours = self.ownership
        if (
            owner is None
            or ours is None
            or (owner.claim, owner.lease) == (ours.claim, ours.lease)
        ):
            return False
        return (owner.claim + 1, owner.lease) != (ours.claim, ours.previous)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The epoch a file goes into; ``is_new`` if it was opened just now."""

    owner: Owner
    is_new: bool


async def settle(
    bucket: Bucket,
    keys: ReplicaKeys,
    file: File,
    sidecar: Sidecar,
    presence: Presence,
    *,
    is_absent: bool = False,
) -> Opened:
    """
    Return the epoch that *file* goes into, opened if need be, its note written.

    If the bucket seems to hold nothing of the replica (*is_absent*) the first epoch is opened
    without another look: that fails if there is one.

    Raises:
        Contested: Another machine has claimed the replica meanwhile.
        Fenced: This file may not be replicated under this name.
        BackupMissing: It was, and the bucket knows nothing of it.
        OpsError: The bucket or the disk does not answer as it should.
    """
    owner = sidecar.owner()
    sidecar.keep_own_meta(owner)
    for attempt in range(_RACES_MAX):
        is_blank = is_absent and attempt == 0
        newest = None if is_blank else await _newest(bucket, keys)
        decision = await _decide(bucket, keys, file, sidecar, owner, newest)
        decision = end_if_claimed(decision, was_others=presence.follows_others(owner))
        decision = end_if_in_doubt(decision, _doubt(sidecar, owner))
        claim = presence.ownership.claim if presence.ownership else None
        await _refuse_stale(bucket, keys, sidecar, decision, claim)
        match decision:
            case Refuse() as refusal:
                raise Outdated(refusal, hint=_way_out(sidecar))
            case Missing(reason=reason):
                raise BackupMissing(reason, hint=_way_out(sidecar))
            case Continue(owner=note):
                opened = _go_on(note, file, sidecar, presence)
                break
            case OpenNext() as opening:
                if not is_blank:
                    await _refuse_others(bucket, keys, presence, newest)
                try:
                    opened = await _open(bucket, keys, file, sidecar, opening, presence)
                except PreconditionFailed:
                    await _refuse_lost(bucket, keys, presence)
                    continue
                break
    else:
        raise Fenced(
            f"others keep opening epochs of '{file.name}'",
            hint="find the other machine that replicates a database under this name",
        )
    _clear(sidecar, opened.owner)
    return opened


async def refuse_outdated(
    bucket: Bucket, keys: ReplicaKeys, file: File, sidecar: Sidecar
) -> None:
    """
    Refuse a file that is out of date, before its replica is claimed for it.

    Raises:
        Fenced: Somebody has opened a later epoch, or gone on since it was restored.
        OpsError: The bucket does not answer.
    """
    owner, restored = sidecar.owner(), sidecar.restored()
    if owner is None and restored is None:
        return
    newest = await _newest(bucket, keys)
    decision = decide_epoch(file, owner=owner, newest=newest, restored=restored)
    if isinstance(decision, Refuse):
        raise Outdated(decision, hint=_way_out(sidecar))
    await _refuse_stale(bucket, keys, sidecar, decision, claim=None)


async def _refuse_stale(
    bucket: Bucket, keys: ReplicaKeys, sidecar: Sidecar, decision: Decision, claim: int | None
) -> None:
    meant = newest_meant(decision, sidecar.restored(), claim=claim)
    if meant is None:
        return
    points = (await bucket.call(lambda store: read_replica(store, keys))).lineage
    newest = Parent(epoch=points[-1].epoch, txid=points[-1].txid) if points else None
    if newest != meant:
        raise Fenced(
            f"this file was restored as the newest state of '{keys.name}', and is not any more",
            hint="remove it and restore again; if this state is to go on all the same, remove "
            f"{sidecar.folder / 'restored.json'}",
        )


async def _newest(bucket: Bucket, keys: ReplicaKeys) -> EpochMarker | None:
    return await bucket.call(lambda store: newest_epoch(store, keys))


async def _decide(
    bucket: Bucket,
    keys: ReplicaKeys,
    file: File,
    sidecar: Sidecar,
    owner: Owner | None,
    newest: EpochMarker | None,
) -> Decision:
    local_txid, replica_txid = await _positions(bucket, keys, sidecar, owner, newest)
    return decide_epoch(
        file,
        owner=owner,
        newest=newest,
        restored=sidecar.restored(),
        local_txid=local_txid,
        replica_txid=replica_txid,
    )


def _clear(sidecar: Sidecar, opened: Owner) -> None:
    if sidecar.suspect() is not None and opened.parent is not None:
        sidecar.clear_meta(opened.parent.epoch)  # nobody will ship what is left in it
    sidecar.clear_suspect()


async def _positions(
    bucket: Bucket,
    keys: ReplicaKeys,
    sidecar: Sidecar,
    owner: Owner | None,
    newest: EpochMarker | None,
) -> tuple[int, int]:
    if owner is None or newest is None or owner.epoch != newest.epoch:
        return 0, 0
    epoch = owner.epoch
    remote = await bucket.call(lambda store: read_remote(store, keys, epoch, Remote()))
    # Read last: what is shipped is in a file here before it is in the bucket.
    return newest_txid(sidecar.meta(epoch)), remote.txid


def _doubt(sidecar: Sidecar, owner: Owner | None) -> Doubt | None:
    note = sidecar.suspect()
    if note is None or owner is None or not owner.is_marked:
        return None  # or it is of the epoch before: nothing was shipped of this one
    kind, _, value = note.decode(errors="replace").partition(" ")
    if kind == TRUSTED and value.isdecimal():
        return Doubt(epoch=owner.epoch, trusted_txid=int(value))
    try:
        salts = _SALTS.unpack(bytes.fromhex(value))
    except (ValueError, struct.error):
        salts = None
    trusted_txid = last_before_log(sidecar.meta(owner.epoch), salts)
    return Doubt(epoch=owner.epoch, trusted_txid=trusted_txid)


def _go_on(owner: Owner, file: File, sidecar: Sidecar, presence: Presence) -> Opened:
    current = replace(
        owner,
        database_id=file.database_id or owner.database_id,
        is_marked=True,
        **_by_right(presence),
    )
    sidecar.write_owner(current)
    return Opened(owner=current, is_new=False)


async def _open(
    bucket: Bucket,
    keys: ReplicaKeys,
    file: File,
    sidecar: Sidecar,
    decision: OpenNext,
    presence: Presence,
) -> Opened:
    owner = Owner(
        name=file.name,
        host=file.host,
        inode=file.inode,
        epoch=decision.epoch,
        owner=decision.owner or secrets.token_hex(16),
        database_id=file.database_id,
        opened_at_ms=presence.now_ms,
        restored_at_ms=decision.restored_at_ms,
        parent=decision.parent,
        **_by_right(presence),
    )
    marker = EpochMarker(
        epoch=owner.epoch,
        parent=decision.parent,
        database_id=owner.database_id,
        host=owner.host,
        inode=owner.inode,
        opened_at_ms=owner.opened_at_ms,
        owner=owner.owner,
    )
    sidecar.clear_meta(owner.epoch)
    sidecar.mark_meta(owner)
    # The note comes first: after a crash in between, it proves that the marker is ours, and
    # says where the epoch before was cut.
    sidecar.write_owner(owner)
    await bucket.call(lambda store: open_epoch(store, keys, marker), is_write=True)
    owner = replace(owner, is_marked=True)
    # If a loss of power takes this back, the marker is read once more.
    sidecar.write_owner(owner, is_synced=False)
    return Opened(owner=owner, is_new=True)


def _by_right(presence: Presence) -> dict[str, Any]:
    ownership = presence.ownership
    return {
        "boot_id": presence.boot_id,
        "socket": presence.socket,
        "pid": presence.pid,
        "lease": ownership.lease if ownership else "",
        "claim": ownership.claim if ownership else 0,
        "lease_deadline_ms": presence.deadline_ms,
    }


async def _refuse_others(
    bucket: Bucket, keys: ReplicaKeys, presence: Presence, newest: EpochMarker | None
) -> None:
    if newest is None:
        await _refuse_unmarked(bucket, keys)
    # Asked after the newest epoch was looked up, however long this machine has slept: whoever
    # claims the replica from here on opens the same number, and one of the two fails.
    await _refuse_lost(bucket, keys, presence)


async def _refuse_lost(bucket: Bucket, keys: ReplicaKeys, presence: Presence) -> None:
    ours = presence.ownership
    if ours is None:
        return
    seen = await bucket.call(lambda store: read_ownership(store, keys))
    now = seen.ownership if seen else None
    if now is None or (now.lease, now.claim) != (ours.lease, ours.claim):
        raise Contested(f"another machine has claimed '{keys.name}' meanwhile")


async def _refuse_unmarked(bucket: Bucket, keys: ReplicaKeys) -> None:
    def strangers(store: ObjectStore) -> list[str]:
        return [name for name in store.folders(keys.root) if name != MARKERS_FOLDER]

    found = await bucket.call(strangers)
    if found:
        raise Fenced(
            f"{keys.root} already holds '{found[0]}', and no marker says whose it is",
            hint="choose another prefix or name: histories that are mixed cannot be restored",
        )


def _way_out(sidecar: Sidecar) -> str:
    return (
        "if this file is to be the one that goes on, remove "
        f"{sidecar.folder / 'owner.json'}: it then gets an epoch of its own"
    )
