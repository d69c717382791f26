"""
Waiting until a replica has no living owner, before a copy is made of it.

A copy that is taken while another machine still writes is older than what that machine
leaves behind; whoever went on from it would lose the difference without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import Fenced
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.leases import read_ownership
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.fencing import Rival
from obelisk_ops.supervise.party import Party
from obelisk_ops.supervise.rivals import Look, Rivals

_LOOK_S = 1.0


async def until_vacant(
    names: Iterable[str],
    party: Party,
    bucket: Bucket,
    clock: Clock,
    *,
    patience_s: float,
    tell: Callable[[str], None],
) -> None:
    """
    Return when no other machine that lives owns any of the replicas.

    Args:
        names: The replicas.
        party: Who asks; what its own last lease holds is no obstacle.
        bucket: Where they are.
        clock: The time.
        patience_s: How long to wait for all of them.
        tell: Told once for each replica why it is waited for.

    Raises:
        Fenced: A machine that lives, or may live, owns one.
        OpsError: The bucket does not answer.
    """
    rivals, own = Rivals(party.prefix, bucket, clock), party.kept()
    until_ms = clock.elapsed_ms() + round(patience_s * 1000)

    async def owner_of(name: str) -> Look | None:
        keys = ReplicaKeys(prefix=party.prefix, name=name)
        seen = await bucket.call(lambda store: read_ownership(store, keys))
        if seen is None or seen.ownership.lease == own:
            return None
        look = await rivals.look(seen.ownership.lease, by=party.host)
        return None if look.rival is Rival.GONE else look

    for name in names:
        told = ""
        while (look := await owner_of(name)) is not None:
            if clock.elapsed_ms() >= until_ms:
                raise Fenced(
                    f"{look.host} owns '{name}', and lives as far as is known",
                    hint="stop it there, or wait longer with --wait",
                )
            if not told:
                told = f"{name}: waiting until {look.host}, which owns it, stops or is gone"
                tell(told)
            await asyncio.sleep(_LOOK_S)
