"""Running ``litestream restore`` into a private folder, watched, and never for ever."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeAlias

from obelisk_ops import process
from obelisk_ops.core.when import Txid, show
from obelisk_ops.errors import (
    BucketMissing,
    CredentialsError,
    DamagedObject,
    ObjectNotFound,
    S3Unavailable,
    StorageUnavailable,
    VerificationFailed,
)
from obelisk_ops.litestream import ltx, program, restoring
from obelisk_ops.litestream.config import Target
from obelisk_ops.litestream.restoring import Failure, Trouble
from obelisk_ops.replica.catalogue import LtxFile

Progress: TypeAlias = Callable[[int], None]

_LOOK_EVERY_S = 0.05
_OUTPUT_NAME = "restored.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One run of Litestream.

    Attributes:
        source: The epoch in the bucket, or a folder that holds what it needs of it.
        txid: The transaction to restore to.
        plan: The files it will read, in its order.
        environment: The whole environment of the child, with the credentials.
        stall_s: It is given up when it has written nothing for so long.
    """

    source: Target | Path
    txid: int
    plan: Sequence[LtxFile]
    environment: Mapping[str, str] = field(repr=False)
    stall_s: float = 30.0


def run(job: Job, folder: Path, progress: Progress) -> Path:
    """
    Restore into *folder* and return the file.

    Args:
        job: What to restore.
        folder: A private folder on the file system of the target.
        progress: Called again and again with the bytes written so far.

    Raises:
        DamagedObject: A file of the plan is damaged; the message names it.
        ObjectNotFound: A file of the plan is gone.
        VerificationFailed: Litestream restored something else, or failed for no known reason.
        S3Unavailable: The bucket does not answer, or answers too slowly.
        StorageUnavailable: The disk is full, or somebody has killed it.
        BucketMissing: There is no bucket.
        CredentialsError: They are refused.
    """
    output = folder / _OUTPUT_NAME
    config, database = folder / "litestream.yml", folder / "source.db"
    config.touch(mode=0o600)
    config.write_text(restoring.to_yaml(job.source, database), encoding="utf-8")
    argv = restoring.argv(
        program.find(), config=config, database=database, txid=job.txid, output=output
    )
    log = folder / "litestream.log"
    with log.open("wb") as sink:
        child = process.spawn(argv, env=job.environment, output=sink)
        try:
            status = _watch(child, output, progress, job)
        finally:
            child.kill()
            child.wait()
    said = log.read_text(encoding="utf-8", errors="replace")
    if status < 0:
        # Killed, for want of memory it may be: that says nothing of the backup.
        raise StorageUnavailable(f"Litestream was ended by signal {-status}")
    if status != 0:
        _refuse(restoring.read_failure(said), job)
    obtained = restoring.obtained_txid(said)
    if obtained != job.txid:
        raise VerificationFailed(
            f"Litestream was asked for transaction {job.txid} and restored {obtained}",
            hint="nothing was kept",
        )
    return output


def with_way_out(damage: DamagedObject, plan: Sequence[LtxFile], place: int) -> DamagedObject:
    """Return *damage* of one file of a plan with a hint at a point that does not need it."""
    if place == 0:
        return damage
    # The walk to the end of the file before takes only files that end no later.
    before = plan[place - 1]
    point = show(Txid(before.max_txid, before.epoch))
    return DamagedObject(damage.message, hint=f"restorable without it: --at {point}")


def _watch(child: process.Child, output: Path, progress: Progress, job: Job) -> int:
    partial = output.with_name(output.name + ".tmp")
    written, changed_at = 0, time.monotonic()
    while True:
        try:
            return child.wait(timeout=_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            size = _size(partial) or _size(output)
        progress(size)  # also where nothing is written: who looks on may have no more time
        if size != written:
            written, changed_at = size, time.monotonic()
        elif time.monotonic() - changed_at > job.stall_s:
            raise S3Unavailable(
                f"the restore wrote nothing for {job.stall_s:g} s and was stopped",
                hint="the bucket answers too slowly or not at all; try again",
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _refuse(failure: Failure, job: Job) -> NoReturn:
    said = failure.said
    match failure.trouble:
        case Trouble.DAMAGED:
            raise _damaged(failure, job)
        case Trouble.MISSING:
            raise ObjectNotFound(f"an object of the replica was deleted meanwhile: {said}")
        case Trouble.DISK:
            raise StorageUnavailable(
                f"the copy cannot be written: {said}", hint="free some space, or choose --to"
            )
        case Trouble.BUCKET:
            raise BucketMissing(f"there is no such bucket: {said}")
        case Trouble.CREDENTIALS:
            raise CredentialsError(f"the bucket refuses the credentials: {said}")
        case Trouble.UNREACHABLE:
            raise S3Unavailable(f"the bucket cannot be read: {said}", hint="try again")
        case Trouble.UNKNOWN:
            raise VerificationFailed(f"Litestream could not restore: {said}")


def _damaged(failure: Failure, job: Job) -> DamagedObject:
    if failure.input is not None and failure.input < len(job.plan):
        key = job.plan[failure.input].key
        return with_way_out(ltx.damaged(key, failure.said), job.plan, failure.input)
    first, last = job.plan[0].key, job.plan[-1].key
    return DamagedObject(
        f"an object between {first} and {last} is damaged: {failure.said}",
        hint="restore an earlier point; see 'obelisk-ops replica points NAME'",
    )
