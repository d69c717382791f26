"""A copy of a point, in the way that suits the line: read by Litestream, or fetched first."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.restore import aside
from obelisk_ops.restore.fetching import PATIENCE_S, fetch, held_bytes, pays
from obelisk_ops.restore.pace import Pace
from obelisk_ops.restore.target import FETCHED


def is_fetched_first(
    files: Sequence[LtxFile], folder: Path, *, answer_ms: int, room: int, pace: Pace | None
) -> bool:
    """
    Tell whether the objects are fetched before Litestream reads them.

    Args:
        files: The objects.
        folder: Where the copy is made.
        answer_ms: How long the bucket takes for a small answer.
        room: How much the copy needs of the disk.
        pace: How fast may be read: Litestream cannot be told.
    """
    if pace is not None:
        return True
    download = sum(file.size for file in files)
    free = shutil.disk_usage(folder).free + held_bytes(folder / FETCHED)
    return pays(answer_ms, files) and free >= room + download


def obtain(
    job: aside.Job,
    folder: Path,
    progress: Callable[[int], None],
    *,
    first: ObjectStore | None,
    pace: Pace | None,
    left_s: Callable[[], float] = lambda: PATIENCE_S,
) -> Path:
    """
    Make the copy in *folder*, and return it.

    Args:
        job: What Litestream is to do, from the bucket.
        folder: A private folder on the file system of the target.
        progress: Called again and again with the bytes that are fetched or written so far.
        first: Where the objects are, if they are fetched first; see ``is_fetched_first``.
        pace: How fast may be read then.
        left_s: How long it may still take; raises where that is over.

    Raises:
        OpsError: See ``fetch`` and ``aside.run``, and what *left_s* raises.
    """
    before = 0
    if first is not None:
        fetch(first, job.plan, folder / FETCHED, progress, pace=pace, left_s=left_s)
        before, job = sum(file.size for file in job.plan), replace(job, source=folder / FETCHED)

    def written(size: int) -> None:
        left_s()
        progress(before + size)

    return aside.run(job, folder, written)
