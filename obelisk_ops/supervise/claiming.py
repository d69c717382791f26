"""Make a replica ours, by one conditional write, unless somebody else's lease holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import PreconditionFailed
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.leases import (
    NOBODY,
    Ownership,
    SeenOwnership,
    read_ownership,
    write_ownership,
)
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.fencing import Contested, Rival
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.rivals import Look

_RACES_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """Somebody else owns the replica; the look at his lease says how surely."""

    host: str
    look: Look


async def claim(
    bucket: Bucket,
    keys: ReplicaKeys,
    lease: Holder,
    clock: Clock,
    before_taking: Callable[[], Awaitable[None]],
    *,
    is_absent: bool = False,
) -> Ownership | Owned:
    """
    Claim a replica for *lease*; return that it is ours, or whose it is.

    Args:
        bucket: The bucket.
        keys: The replica.
        lease: Our lease.
        clock: For people.
        before_taking: Raises, if it must not be taken although it could be.
        is_absent: Whether the bucket seems to hold nothing of it: then the write, which fails
            if there is an owner, comes before the look.

    Raises:
        Contested: Another machine is about to take it from us, or others keep claiming it.
        OpsError: The bucket does not answer.
    """
    for attempt in range(_RACES_MAX):
        is_blank = is_absent and attempt == 0
        seen = None if is_blank else await _look(bucket, keys)
        owned = seen.ownership if seen else None
        if owned is not None and owned.lease == lease.id:
            if not lease.is_revoked(keys.name, owned.claim):
                return owned
            _refuse_revoked(keys.name, lease)
        # First of all: no lease is broken for what must not be taken.
        await before_taking()
        if owned is not None and owned.lease not in {lease.id, NOBODY}:
            look = await lease.rivals.look(owned.lease, by=lease.party.host)
            if look.rival is Rival.LIVES:
                return Owned(host=owned.host, look=look)
        with suppress(PreconditionFailed):
            return await _take(bucket, keys, next_claim(seen, lease, clock), seen)
    raise Contested(
        f"others keep claiming '{keys.name}'",
        hint="find the other machine that replicates a database under this name",
    )


async def give_back(bucket: Bucket, keys: ReplicaKeys, lease: Holder) -> None:
    """
    Own a replica no longer, for somebody else has its present epoch.

    Raises:
        OpsError: The bucket does not answer.
    """
    seen = await _look(bucket, keys)
    if seen is not None and seen.ownership.lease == lease.id:
        free = replace(seen.ownership, lease=NOBODY, previous=lease.id)
        with suppress(PreconditionFailed):
            await _take(bucket, keys, free, seen)


def _refuse_revoked(name: str, lease: Holder) -> None:
    # Whoever revoked it claims it at once. If he never does, he died in between.
    if not lease.is_taking_long(name):
        raise Contested(f"another machine is about to take over '{name}'")


def next_claim(seen: SeenOwnership | None, lease: Holder, clock: Clock) -> Ownership:
    """Return what makes a replica ours that was seen to be somebody else's, or nobody's."""
    before = seen.ownership if seen else None
    return Ownership(
        lease=lease.id,
        host=lease.party.host,
        claim=before.claim + 1 if before else 1,
        previous=before.lease if before else NOBODY,
        claimed_at_ms=clock.now_ms(),
    )


async def _look(bucket: Bucket, keys: ReplicaKeys) -> SeenOwnership | None:
    return await bucket.call(lambda store: read_ownership(store, keys))


async def _take(
    bucket: Bucket, keys: ReplicaKeys, ours: Ownership, seen: SeenOwnership | None
) -> Ownership:
    await bucket.call(lambda store: write_ownership(store, keys, ours, seen), is_write=True)
    return ours
