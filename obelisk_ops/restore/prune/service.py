"""
Pruning a replica: plan, check the plan, delete, look again.

Whatever part of the deletions is carried out, what is promised restores as before: no walk to
it takes an object that goes. So it can be killed, and done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from obelisk_ops.core.clock import Clock, iso
from obelisk_ops.core.words import counted
from obelisk_ops.errors import ClockError, Unproven, VerificationFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile, Replica, build, walk
from obelisk_ops.replica.layout import epoch_name
from obelisk_ops.replica.reading import list_epoch, read_replica
from obelisk_ops.restore.prune.plan import MARGIN_MS, Proof, PrunePlan, cutoff_of, make_plan
from obelisk_ops.restore.service import Source

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """
    What was done.

    Attributes:
        plan: What was to go.
        is_applied: Whether it was done, or only planned.
        survived: Objects that were deleted and are still listed.
    """

    plan: PrunePlan
    is_applied: bool
    survived: tuple[LtxFile, ...] = ()


def prune(
    source: Source, proof: Proof, keep_s: float, *, is_applied: bool, clock: Clock
) -> Pruned:
    """
    Remove what is older than *keep_s* and not needed by what is younger.

    Args:
        source: The replica.
        proof: The last good drill.
        keep_s: From how long ago on every moment is to stay restorable.
        is_applied: Do it; else only say what would go.
        clock: That of this machine.

    Raises:
        ClockError: It differs from the bucket's.
        ReplicaNotFound: There is no such replica.
        Unproven: The last good drill is of an epoch that is not the present one.
        VerificationFailed: The plan would cost a point that is promised; nothing was deleted.
        OpsError: The bucket does not answer, or refuses.
    """
    now_ms = bucket_now_ms(source.store, clock)
    replica = read_replica(source.store, source.keys)
    _refuse_old_proof(replica, proof)
    cutoff_ms = cutoff_of(now_ms=now_ms, keep_ms=round(keep_s * 1000), proof=proof)
    plan = make_plan(replica, cutoff_ms, proof)
    check_plan(replica, plan)
    if not is_applied or not plan.doomed:
        return Pruned(plan=plan, is_applied=is_applied)
    _delete(source.store, plan.doomed)
    return Pruned(plan=plan, is_applied=True, survived=tuple(_survivors(source, plan)))


def bucket_now_ms(store: ObjectStore, clock: Clock) -> int:
    """
    Return the bucket's time.

    Raises:
        ClockError: That of this machine differs: nothing is judged by its age then.
    """
    now_ms, here_ms = store.server_time_ms(), clock.now_ms()
    if abs(now_ms - here_ms) > MARGIN_MS:
        raise ClockError(
            f"this machine says {iso(here_ms)}, the bucket {iso(now_ms)}: nothing is pruned",
            hint="set the clock of this machine",
        )
    return now_ms


def check_plan(replica: Replica, plan: PrunePlan) -> None:
    """
    Refuse a plan after which a promised point would not restore as it does now.

    Raises:
        VerificationFailed: It would; this is a bug, and nothing was deleted.
    """
    doomed = set(plan.doomed)
    files = {e.epoch: [f for f in e.files if f not in doomed] for e in replica.epochs}
    after = build(replica.name, files, [e.marker for e in replica.epochs if e.marker])
    newest = replica.lineage[-1:]
    wanted = [p for p in replica.points if p.listed_ms >= plan.cutoff_ms] + list(newest)
    for point in wanted:
        before = replica.history(point.epoch)
        path = walk(before.files if before else (), point.txid)
        kept = after.history(point.epoch)
        if doomed.intersection(path) or walk(kept.files if kept else (), point.txid) != path:
            raise VerificationFailed(
                f"pruning would cost transaction {point.txid} of {epoch_name(point.epoch)}",
                hint="this is a bug; nothing was deleted",
            )


def _refuse_old_proof(replica: Replica, proof: Proof) -> None:
    current = replica.current
    if current is None or proof.epoch < current.epoch:
        present = epoch_name(current.epoch) if current else "nothing"
        raise Unproven(
            f"the last good drill of '{replica.name}' is of {epoch_name(proof.epoch)}, and "
            f"{present} is what a restore reads now",
            hint=f"prove it first: obelisk-ops replica drill {replica.name}",
        )


def _delete(store: ObjectStore, doomed: Sequence[LtxFile]) -> None:
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(doomed))) as pool:
        for _ in pool.map(lambda file: store.delete(file.key), doomed):
            pass  # an error is raised here


def _survivors(source: Source, plan: PrunePlan) -> list[LtxFile]:
    listed = {
        file.key
        for epoch in plan.epochs if epoch.doomed
        for file in list_epoch(source.store, source.keys, epoch.epoch)
    }  # fmt: skip
    return [file for file in plan.doomed if file.key in listed]


def words_of(pruned: Pruned) -> str:
    """Say what went, or would."""
    what = counted(len(pruned.plan.doomed), "object")
    return f"{what} deleted" if pruned.is_applied else f"{what} would go; do it with --apply"
