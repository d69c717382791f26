"""
Decide which epoch a file belongs to.

Pure. What the file's folder says, and what the bucket says, must agree in
every point; a file that is not surely the one an epoch was opened for gets an
epoch of its own, so that two histories are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from obelisk_ops.replica.epochs import EpochMarker, Parent

FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """
    The file to be replicated.

    Attributes:
        name: The name it is configured under.
        host: This machine.
        inode: Which file it is.
        database_id: The id stored in it, if it stores one.
    """

    name: str
    host: str
    inode: int
    database_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """
    The note beside a database: which epoch was opened for it here.

    Attributes:
        name: The name it was configured under.
        host: The machine that opened the epoch.
        inode: The file it was opened for.
        epoch: Its number.
        owner: Drawn at random for this opening; the bucket's marker carries the same.
        database_id: The id stored in the database, if it stores one.
        boot_id: The run of the machine during which it was written.
        opened_at_ms: UTC milliseconds. For people.
        restored_at_ms: The restore that this history began with, if with one.
        parent: Where the epoch left an older one; the bucket's marker says the same.
        socket: Where the supervisor listens.
        pid: The supervisor.
        is_marked: Whether the bucket surely holds its marker.
        lease: The lease under which the supervisor writes.
        claim: Which of the claims of this replica is ours.
        lease_deadline_ms: Until when no other machine can have taken it over, on the clock of
            this boot that only moves forward; an engine starts nothing after it. 0 is over.
            None says that no supervisor looks after the file.
    """

    name: str
    host: str
    inode: int
    epoch: int
    owner: str
    database_id: str | None = None
    boot_id: str = ""
    opened_at_ms: int = 0
    restored_at_ms: int | None = None
    parent: Parent | None = None
    socket: str | None = None
    pid: int | None = None
    is_marked: bool = False
    lease: str = ""
    claim: int = 0
    lease_deadline_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """
    The note that a restore leaves beside the copy: what it was restored from.

    Attributes:
        name: The backup.
        epoch: Its epoch.
        txid: The last transaction that the copy contains.
        at_ms: When it was restored; UTC milliseconds.
        inode: The copy; None if the note does not say it.
        claim: Our claim when it was restored as the newest state, 0 if there was none yet.
            None if somebody chose the state.
    """

    name: str
    epoch: int
    txid: int
    at_ms: int
    inode: int | None = None
    claim: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """
    What was shipped of an epoch may differ from what the file held.

    Attributes:
        epoch: Its number.
        trusted_txid: Its last transaction that does not; None if that is not known.
    """

    epoch: int
    trusted_txid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """The file goes on in the epoch of its note."""

    owner: Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenNext:
    """The file starts an epoch of its own; *owner* if that was tried before, see Owner."""

    epoch: int
    parent: Parent | None
    restored_at_ms: int | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """Whose a replica is, and its newest epoch, as far as that is known."""

    host: str | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The file had its epoch, and somebody has opened a later one since."""

    reason: str
    by: Occupant


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The file had its epoch, and the bucket knows nothing of it."""

    reason: str


#: What becomes of a file.
Decision: TypeAlias = Continue | OpenNext | Refuse | Missing


def decide_epoch(
    file: File,
    *,
    owner: Owner | None,
    newest: EpochMarker | None,
    restored: Restored | None,
    local_txid: int = 0,
    replica_txid: int = 0,
) -> Decision:
    """
    Return the epoch that a file is to be replicated into.

    A file that was set back to an earlier state, with all that is beside it, is
    known by the bucket having more of its epoch than this disk. If Litestream's
    own files are gone, nothing can be compared; the epoch then goes on, for
    Litestream takes its position from the bucket and begins with a snapshot.

    Args:
        file: What is to be replicated.
        owner: The note beside it, if there is one.
        newest: The newest marker in the bucket, if there is one.
        restored: The note of a restore beside it, if there is one.
        local_txid: Last transaction of the note's epoch in Litestream's files; 0 if not known.
        replica_txid: Last transaction of that epoch in the bucket; 0 if none.
    """
    if owner is not None and _is_at(owner, file) and not _replaced(owner, file, restored):
        if owner.is_marked and (newest is None or newest.epoch < owner.epoch):
            return Missing(reason=_missing(owner, newest))
        decision = _by_note(
            owner, file, newest, local_txid=local_txid, replica_txid=replica_txid
        )
        if decision is not None:
            return decision
    if newest is None:
        return OpenNext(epoch=FIRST_EPOCH, parent=None)
    if restored is not None and _is_news(restored, owner, file, newest):
        parent = Parent(epoch=restored.epoch, txid=restored.txid)
        return OpenNext(epoch=newest.epoch + 1, parent=parent, restored_at_ms=restored.at_ms)
    return OpenNext(epoch=newest.epoch + 1, parent=Parent(epoch=newest.epoch, txid=None))


def newest_meant(
    decision: Decision, restored: Restored | None, *, claim: int | None
) -> Parent | None:
    """
    Return the point that must still be the newest for the decision to hold; None if none.

    A copy that was restored as the newest state, and not under the present *claim*, may be
    out of date: others can have gone on since.
    """
    if (
        restored is None
        or restored.claim in {None, claim}
        or not isinstance(decision, OpenNext)
    ):
        return None
    origin = Parent(epoch=restored.epoch, txid=restored.txid)
    is_begun_by_it = (decision.parent, decision.restored_at_ms) == (origin, restored.at_ms)
    return origin if is_begun_by_it else None


def end_if_in_doubt(decision: Decision, doubt: Doubt | None) -> Decision:
    """Return the decision, but that an epoch in doubt ends where it can last be trusted."""
    if doubt is None:
        return decision
    if isinstance(decision, Continue):
        return _branch(decision.owner, doubt.trusted_txid)
    if isinstance(decision, OpenNext):
        return replace(decision, parent=_no_later(decision.parent, doubt))
    return decision


def end_if_claimed(decision: Decision, *, was_others: bool) -> Decision:
    """
    Return the decision, but that an epoch which others could have ended ends.

    Args:
        decision: What the notes call for.
        was_others: Whether another machine has claimed the replica since the note. It may
            have read the epoch to its end: what comes now is another chapter.
    """
    if not was_others or not isinstance(decision, Continue):
        return decision
    return _branch(decision.owner, None)


def _by_note(
    owner: Owner,
    file: File,
    newest: EpochMarker | None,
    *,
    local_txid: int,
    replica_txid: int,
) -> Decision | None:
    """Return what the note calls for; None if it is not surely that of the file."""
    if newest is None or not _speaks_of(owner, file):
        return None
    if newest.epoch > owner.epoch:
        return _refuse(owner, newest)
    if (owner.epoch, owner.owner) == (newest.epoch, newest.owner):
        return _go_on(owner, local_txid=local_txid, replica_txid=replica_txid)
    return None if owner.is_marked or owner.parent is None else _again(owner, newest)


def _is_at(owner: Owner, file: File) -> bool:
    return (owner.name, owner.inode) == (file.name, file.inode)


def _speaks_of(owner: Owner, file: File) -> bool:
    if not _is_at(owner, file) or owner.host != file.host:
        return False
    # An id that is known on both sides and differs: the content was replaced in place.
    known = owner.database_id is not None and file.database_id is not None
    return not known or owner.database_id == file.database_id


def _replaced(owner: Owner, file: File, restored: Restored | None) -> bool:
    # A file that is removed leaves its inode to the next one, which may be a restored copy.
    return (
        restored is not None
        and restored.inode == file.inode
        and restored.at_ms > owner.opened_at_ms
        and restored.at_ms != owner.restored_at_ms
    )


def _go_on(owner: Owner, *, local_txid: int, replica_txid: int) -> Continue | OpenNext:
    if not 0 < local_txid < replica_txid:
        return Continue(owner=owner)
    return _branch(owner, local_txid)


def _no_later(parent: Parent | None, doubt: Doubt) -> Parent | None:
    if parent is None or parent.epoch != doubt.epoch or doubt.trusted_txid is None:
        return parent
    known = doubt.trusted_txid if parent.txid is None else min(parent.txid, doubt.trusted_txid)
    return Parent(epoch=parent.epoch, txid=known)


def _branch(owner: Owner, txid: int | None) -> OpenNext:
    return OpenNext(
        epoch=owner.epoch + 1,
        parent=Parent(epoch=owner.epoch, txid=txid),
        restored_at_ms=owner.restored_at_ms,
    )


def _again(owner: Owner, newest: EpochMarker) -> OpenNext | Refuse | None:
    """Return what becomes of a file whose marker did not get there, or not yet."""
    if owner.epoch == newest.epoch:
        return _refuse(owner, newest)
    if owner.epoch != newest.epoch + 1:
        return None
    return OpenNext(
        epoch=owner.epoch,
        parent=owner.parent,
        restored_at_ms=owner.restored_at_ms,
        owner=owner.owner,
    )


def _is_news(restored: Restored, owner: Owner | None, file: File, newest: EpochMarker) -> bool:
    if restored.name != file.name or restored.epoch > newest.epoch:
        return False
    if restored.inode not in {None, file.inode}:
        return False
    # A restore explains one epoch. The next file in the same place has another origin.
    used = owner is not None and owner.epoch <= newest.epoch
    return not (used and owner is not None and owner.restored_at_ms == restored.at_ms)


def _missing(owner: Owner, newest: EpochMarker | None) -> str:
    there = f"ends with epoch {newest.epoch}" if newest else "holds no backup of this name"
    return (
        f"the note beside the file says that epoch {owner.epoch} exists, and the bucket "
        f"{there}: it is another bucket or prefix, or the backup was deleted"
    )


def _refuse(owner: Owner, newest: EpochMarker) -> Refuse:
    return Refuse(
        reason=f"epoch {newest.epoch} was opened by {newest.host}; "
        f"this file belongs to epoch {owner.epoch}",
        by=Occupant(host=newest.host, epoch=newest.epoch),
    )
