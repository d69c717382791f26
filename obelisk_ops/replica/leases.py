"""
Leases and ownership in the bucket: which supervisor lives, and what is its own.

A supervisor has one lease, an object that it writes again and again; each replica has one
ownership object, which names the lease of its owner. Both change only by conditional
writes. The rules that make two writers of one replica impossible:

- A lease is created before anything names it. Its id is never used again once the object
  is gone: who finds it absent knows that its holder has nothing any more.
- Each write of a lease carries a new ``mark``, so its ETag changes: who saw one ETag for
  longer than the lease lasts knows that it was not renewed meanwhile.
- A lease that ran out is broken by a conditional write before anybody takes what it held.
  Its holder's next renewal then fails, however late it comes.
- Ownership passes from hand to hand by conditional writes that count. To take it from a
  holder who lives, its ``claim`` is revoked in the holder's lease first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from obelisk_ops.errors import DamagedObject, ObjectNotFound
from obelisk_ops.objectstore import Fetched, ObjectStore
from obelisk_ops.replica import layout
from obelisk_ops.replica.layout import ReplicaKeys

#: The lease that an ownership names which was given back.
NOBODY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """
    That a supervisor lives.

    Attributes:
        id: Drawn at random for this lease.
        host: The machine of its holder.
        boot_id: The run of that machine.
        pid: Its holder.
        ttl_ms: How long it holds, from just before it was last written.
        mark: Drawn at random for this write by the holder; others leave it as it is.
        renewed_at_ms: UTC milliseconds on the holder's clock. For people.
        broken_by: The machine that found it run out; empty while it holds.
        revoked: Claims that others have taken away, by name of the replica.
        acknowledged: Of these, what the holder has let go of.
    """

    id: str
    host: str
    boot_id: str
    pid: int
    ttl_ms: int
    mark: str
    renewed_at_ms: int
    broken_by: str = ""
    revoked: Mapping[str, int] = field(default_factory=dict)
    acknowledged: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """
    Whose a replica is.

    Attributes:
        lease: The lease of the owner; NOBODY if it was given back.
        host: Its machine. For people.
        claim: Counts the times it was claimed, from 1; a claim is revoked by its number.
        previous: The lease of the owner before; empty for the first.
        claimed_at_ms: UTC milliseconds on the owner's clock. For people.
    """

    lease: str
    host: str
    claim: int
    previous: str
    claimed_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLease:
    """A lease as it was read; *renewed_ms* is when it was written, by the bucket's clock."""

    lease: Lease
    etag: str
    renewed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenOwnership:
    """An ownership object as it was read."""

    ownership: Ownership
    etag: str


# Made here, once: see replica/epochs.py.
_decode_lease = msgspec.json.Decoder(Lease).decode
_decode_ownership = msgspec.json.Decoder(Ownership).decode


def read_lease(store: ObjectStore, prefix: str, lease_id: str) -> SeenLease | None:
    """
    Return a lease; None if there is none any more, or somebody has broken it.

    Raises:
        DamagedObject: It is not what this program writes.
    """
    fetched = _get(store, layout.lease(prefix, lease_id))
    return None if fetched is None else lease_in(fetched)


def lease_in(fetched: Fetched) -> SeenLease | None:
    """
    Return the lease that was read; None if somebody has broken it.

    Raises:
        DamagedObject: It is not what this program writes.
    """
    try:
        lease = _decode_lease(fetched.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise _damaged(fetched, wrong) from None
    info = fetched.info
    seen = SeenLease(lease=lease, etag=info.etag, renewed_ms=info.modified_ms)
    return None if lease.broken_by else seen


def create_lease(store: ObjectStore, prefix: str, lease: Lease) -> str:
    """
    Write a lease for the first time, and return its ETag.

    Without an answer it may appear at any time later: its id must not be used again.

    Raises:
        PreconditionFailed: There is one with this id.
    """
    return store.put(layout.lease(prefix, lease.id), _encode(lease), if_absent=True)


def write_lease(store: ObjectStore, prefix: str, lease: Lease, etag: str) -> str:
    """
    Write a lease again, if it still has *etag*; return the new one.

    Raises:
        PreconditionFailed: Somebody has written or removed it.
    """
    return store.put(layout.lease(prefix, lease.id), _encode(lease), if_match=etag)


def break_lease(store: ObjectStore, prefix: str, seen: SeenLease, *, by: str) -> None:
    """
    End a lease that ran out, for good.

    Raises:
        PreconditionFailed: It was renewed, or somebody was faster.
    """
    write_lease(store, prefix, replace(seen.lease, broken_by=by), seen.etag)
    # It says nothing any more that its absence does not say.
    remove_lease(store, prefix, seen.lease.id)


def remove_lease(store: ObjectStore, prefix: str, lease_id: str) -> None:
    """Give up a lease of one's own, or remove one that is broken."""
    store.delete(layout.lease(prefix, lease_id))


def revoke(store: ObjectStore, prefix: str, seen: SeenLease, name: str, claim: int) -> None:
    """
    Take one claim from a holder that may live: it learns of it before it can renew.

    Raises:
        PreconditionFailed: The lease was written meanwhile; read it again.
    """
    revoked = {**seen.lease.revoked, name: claim}
    write_lease(store, prefix, replace(seen.lease, revoked=revoked), seen.etag)


def list_leases(store: ObjectStore, prefix: str) -> dict[str, str]:
    """Return the ETags of all leases, by their ids."""
    found = store.list(layout.leases(prefix))
    return {layout.lease_of_key(info.key): info.etag for info in found}


def read_ownership(store: ObjectStore, keys: ReplicaKeys) -> SeenOwnership | None:
    """
    Return whose a replica is; None if nobody has ever claimed it.

    Raises:
        DamagedObject: The object is not what this program writes.
    """
    fetched = _get(store, keys.ownership)
    if fetched is None:
        return None
    try:
        ownership = _decode_ownership(fetched.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise _damaged(fetched, wrong) from None
    return SeenOwnership(ownership=ownership, etag=fetched.info.etag)


def write_ownership(
    store: ObjectStore, keys: ReplicaKeys, ownership: Ownership, before: SeenOwnership | None
) -> None:
    """
    Claim a replica, if it is still as it was *before*.

    Raises:
        PreconditionFailed: Somebody else was first, or an earlier try of ours was
            carried out without an answer: read it again.
    """
    etag = before.etag if before else None
    store.put(keys.ownership, _encode(ownership), if_absent=before is None, if_match=etag)


def _get(store: ObjectStore, key: str) -> Fetched | None:
    try:
        return store.look(key)
    except ObjectNotFound:
        return None


def _encode(value: Lease | Ownership) -> bytes:
    return msgspec.json.encode(value)


def _damaged(fetched: Fetched, wrong: Exception) -> DamagedObject:
    return DamagedObject(
        f"{fetched.info.key} cannot be read: {wrong}",
        hint="it is small and written by supervisors alone: see who else writes there",
    )
