"""What a restore will cost: an estimate that says what it rests on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from obelisk_ops.core.clock import Clock
from obelisk_ops.restore.pace import part_bytes
from obelisk_ops.restore.service import Plan, Source, needed_bytes

#: Measured with Litestream 0.5.17 on one processor, pages of 1 KiB; larger ones are quicker.
_WRITTEN_PER_S = 60_000_000
#: SQLite's check of a file that was just written.
_CHECKED_PER_S = 600_000_000
_BEGIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """
    What a restore will cost.

    Attributes:
        seconds: About how long it will take.
        read_per_s: Bytes a second that the bucket gave just now, or that may be read.
        written_per_s: Bytes a second that Litestream typically writes.
        needed_bytes: Room that must be free.
        free_bytes: Room that is.
    """

    seconds: float
    read_per_s: float
    written_per_s: float
    needed_bytes: int
    free_bytes: int


def estimate(source: Source, plan: Plan, target: Path, clock: Clock) -> Estimate:
    """
    Read a megabyte of what would be read, and say how long all of it will take.

    Raises:
        ObjectNotFound: Retention has removed it meanwhile.
        S3Unavailable: The bucket does not answer.
    """
    largest = max(plan.files, key=lambda file: file.size)
    sample = min(largest.size, part_bytes(plan.rate))
    began_ms = clock.elapsed_ms()
    source.store.get(largest.key, first=0, last=sample - 1)
    read_per_s = sample * 1000 / max(clock.elapsed_ms() - began_ms, 1)
    if plan.rate:
        read_per_s = min(read_per_s, plan.rate)
    reading, writing = plan.download_bytes / read_per_s, plan.database_bytes / _WRITTEN_PER_S
    # Both go on at the same time, if it is not fetched first.
    both = reading + writing if plan.rate else max(reading, writing)
    return Estimate(
        seconds=_BEGIN_S + both + plan.database_bytes / _CHECKED_PER_S,
        read_per_s=read_per_s,
        written_per_s=_WRITTEN_PER_S,
        needed_bytes=needed_bytes(plan),
        free_bytes=shutil.disk_usage(target.parent).free,
    )
