"""Find out which epoch a file goes into, and open a new one where it must have its own."""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, replace
from typing import Any

from obelisk_ops.errors import BackupMissing, Fenced, PreconditionFailed
from obelisk_ops.litestream.local import last_before_log, newest_txid
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import EpochMarker, newest_epoch, open_epoch
from obelisk_ops.replica.layout import MARKERS_FOLDER, ReplicaKeys
from obelisk_ops.replica.leases import Ownership
from obelisk_ops.supervise.bucket import Bucket
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
)
from obelisk_ops.supervise.position import Remote, read_remote
from obelisk_ops.supervise.sidecar import TRUSTED, Sidecar

_RACES_MAX = 5
_SALTS = struct.Struct(">II")


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
        """Tell whether another machine has claimed the replica since the note was written."""
        if owner is None or self.ownership is None:
            return False
        return owner.lease not in {self.ownership.lease, self.ownership.previous}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The epoch a file goes into; ``is_new`` if it was opened just now."""

    owner: Owner
    is_new: bool


async def settle(
    bucket: Bucket, keys: ReplicaKeys, file: File, sidecar: Sidecar, presence: Presence
) -> Opened:
    """
    Return the epoch that *file* goes into, opened if need be, its note written.

    Raises:
        Fenced: This file may not be replicated under this name.
        BackupMissing: It was, and the bucket knows nothing of it.
        OpsError: The bucket or the disk does not answer as it should.
    """
    owner = sidecar.owner()
    sidecar.keep_own_meta(owner)
    for _ in range(_RACES_MAX):
        newest = await bucket.call(lambda store: newest_epoch(store, keys))
        doubt = _doubt(sidecar, owner)
        decision = await _decide(bucket, keys, file, sidecar, owner, newest)
        decision = end_if_claimed(decision, was_others=presence.follows_others(owner))
        match end_if_in_doubt(decision, doubt):
            case Refuse(reason=reason):
                raise Fenced(reason, hint=_way_out(sidecar))
            case Missing(reason=reason):
                raise BackupMissing(reason, hint=_way_out(sidecar))
            case Continue(owner=note):
                return _go_on(note, file, sidecar, presence)
            case OpenNext() as opening:
                if newest is None:
                    await _refuse_unmarked(bucket, keys)
                try:
                    opened = await _open(bucket, keys, file, sidecar, opening, presence)
                except PreconditionFailed:
                    continue
                _clear(sidecar, doubt, ended=owner, opened=opened.owner)
                return opened
    raise Fenced(
        f"others keep opening epochs of '{file.name}'",
        hint="find the other machine that replicates a database under this name",
    )


async def refuse_outdated(
    bucket: Bucket, keys: ReplicaKeys, file: File, sidecar: Sidecar
) -> None:
    """
    Refuse a file whose epoch is over, before its replica is claimed for it.

    Raises:
        Fenced: Somebody has opened a later one.
        OpsError: The bucket does not answer.
    """
    owner = sidecar.owner()
    newest = await bucket.call(lambda store: newest_epoch(store, keys)) if owner else None
    decision = decide_epoch(file, owner=owner, newest=newest, restored=sidecar.restored())
    if isinstance(decision, Refuse):
        raise Fenced(decision.reason, hint=_way_out(sidecar))


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


def _clear(
    sidecar: Sidecar, doubt: Doubt | None, *, ended: Owner | None, opened: Owner
) -> None:
    sidecar.clear_suspect()
    if ended is not None and doubt is not None and opened.epoch > ended.epoch:
        sidecar.clear_meta(ended.epoch)  # nobody will ship what is left in it


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
    if note is None or owner is None:
        return None
    kind, _, value = note.decode(errors="replace").partition(" ")
    if kind == TRUSTED and value.isdecimal():
        return Doubt(trusted_txid=int(value))
    try:
        salts = _SALTS.unpack(bytes.fromhex(value))
    except (ValueError, struct.error):
        salts = None
    return Doubt(trusted_txid=last_before_log(sidecar.meta(owner.epoch), salts))


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
        owner=secrets.token_hex(16),
        database_id=file.database_id,
        opened_at_ms=presence.now_ms,
        restored_at_ms=decision.restored_at_ms,
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
    # The note comes first: after a crash in between, it proves that the marker is ours.
    sidecar.write_owner(owner)
    await bucket.call(lambda store: open_epoch(store, keys, marker), is_write=True)
    owner = replace(owner, is_marked=True)
    sidecar.write_owner(owner)
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
