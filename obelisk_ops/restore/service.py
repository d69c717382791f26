"""
A restore from the wish to the published file.

    list → choose → plan → restore aside → check → publish

Retention goes on meanwhile: when an object of the plan has gone, all begins
again with a new listing, a few times.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.when import At, Txid, When, show
from obelisk_ops.errors import DamagedObject, ObjectNotFound, StorageUnavailable, TargetExists
from obelisk_ops.inspect.summary import InFlight
from obelisk_ops.litestream.config import Target
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile, Point, walk
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import read_header, read_replica
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.restore import aside, fetching
from obelisk_ops.restore.check import check_copy
from obelisk_ops.restore.choose import choose, left_behind
from obelisk_ops.restore.obtaining import is_fetched_first, obtain
from obelisk_ops.restore.pace import Pace
from obelisk_ops.restore.target import FETCHED, check_target, has_remains, publish, workspace

T = TypeVar("T")

#: told the bytes written so far, and the bytes expected
Progress: TypeAlias = Callable[[int, int], None]

#: given a finished copy, where it is to appear, and a note of what it descends from
Publish: TypeAlias = Callable[[Path, Path, bytes], None]

_ATTEMPTS = 4
_LOOKS = 3
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """
    A replica, and how to reach it.

    Attributes:
        store: For our own requests.
        keys: Where in the bucket it is.
        bucket: The bucket as Litestream is told; its path is that of the replica.
        environment: The whole environment for Litestream, with the credentials.
        pace: How fast a copy may be read; None for as fast as it gets.
    """

    store: ObjectStore
    keys: ReplicaKeys
    bucket: Target
    environment: Mapping[str, str] = field(repr=False)
    pace: Pace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What will be restored, and from what.

    Attributes:
        name: The replica.
        point: The restore point.
        at_ms: When it was captured; UTC milliseconds.
        files: The objects, in the order Litestream reads them.
        database_bytes: How large the copy will be.
        orphaned: A newer point before the moment that is meant; the history left it behind.
        orphaned_at_ms: When that was captured.
        answer_ms: How long the bucket took for a small answer just now.
        rate: Bytes a second that may be read; None for any number.
        claim: See ``restore``.
    """

    name: str
    point: Point
    at_ms: int
    files: tuple[LtxFile, ...]
    database_bytes: int
    orphaned: Point | None = None
    orphaned_at_ms: int = 0
    answer_ms: int = 0
    rate: int | None = None
    claim: int | None = None

    @property
    def download_bytes(self) -> int:
        """Bytes to be read from the bucket."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A published copy; ``checks`` says what it passed."""

    plan: Plan
    path: Path
    size: int
    checks: Mapping[str, str]
    in_flight: tuple[InFlight, ...]


def make_plan(source: Source, wish: When, clock: Clock) -> Plan:
    """
    Choose the point that *wish* means and the objects that lead to it.

    Raises:
        ReplicaNotFound: There is no such replica.
        RestorePointNotFound: See ``choose``.
        ReplicaGap: See ``choose``.
        DamagedObject: The last object is damaged.
    """
    return _despite_retention(lambda: _plan(source, wish, clock))


def foresee(
    source: Source, wish: When, target: Path, *, clock: Clock, copy: Txid | None = None
) -> Plan:
    """
    Return the plan of a restore, or of taking a *copy* up, that may succeed as things stand.

    Nothing is written.

    Raises:
        TargetExists: That copy is not what *wish* means now.
        StorageUnavailable: There is too little space.
        OpsError: See ``make_plan``.
    """
    plan = make_plan(source, wish, clock)
    if copy is not None:
        _check_is_meant(plan, target, copy)
    elif not has_remains(target):  # they go away first, and nobody knows yet what that gives
        check_space(plan, target)
    return plan


def restore(
    source: Source,
    wish: When,
    target: Path,
    *,
    clock: Clock,
    progress: Progress,
    claim: int | None = None,
) -> Restored:
    """
    Restore to a new file; on any failure nothing is left behind.

    With a *claim*, the copy is noted to be the newest state, and to be no good if others go
    on before it does; see ``Restored`` in supervise/ownership.py.

    Raises:
        TargetExists: Something is at *target*; nothing was touched.
        StaleSidecar: An old ``-wal``, ``-shm`` or ``-journal`` is beside it.
        StorageUnavailable: There is too little space, or the disk refuses.
        CorruptDatabase: The copy did not pass the checks.
        VerificationFailed: The same.
        OpsError: See ``make_plan`` and ``aside.run``.
    """
    check_target(target)

    def plan() -> Plan:
        return replace(make_plan(source, wish, clock), claim=claim)

    return _restore(source, plan, target, clock, progress, publish)


def take_up(source: Source, wish: When, target: Path, *, clock: Clock, copy: Txid) -> Restored:
    """
    Return the *copy* that stands at *target*, if that is what *wish* means now.

    Raises:
        TargetExists: It is not; nothing was touched.
        OpsError: See ``restore``.
    """
    plan = make_plan(source, wish, clock)
    _check_is_meant(plan, target, copy)
    with workspace(target) as folder:
        link = folder / target.name
        os.link(target, link)  # what a check leaves beside it goes away with the folder
        checked = check_copy(link)
    return Restored(
        plan=plan, path=target, size=target.stat().st_size, checks=checked.checks,
        in_flight=checked.in_flight,
    )  # fmt: skip


def _check_is_meant(plan: Plan, target: Path, copy: Txid) -> None:
    if (plan.point.epoch, plan.point.txid) != (copy.epoch, copy.txid):
        raise TargetExists(
            f"{target} is the copy of {show(copy)} that an earlier takeover left, and others "
            "have gone on since",
            hint="move it away, and take over again: "
            f"mv {target} {target}.{copy.epoch}-{copy.txid}",
        )


def restore_beside(
    source: Source, wish: When, target: Path, *, clock: Clock, progress: Progress,
    publish: Publish,
) -> Restored:  # fmt: skip
    """
    Restore into a private folder beside *target*, and let *publish* put it in its place.

    Raises:
        OpsError: See ``restore``, and what *publish* raises.
    """
    return _restore(
        source, lambda: make_plan(source, wish, clock), target, clock, progress, publish
    )


def check_space(plan: Plan, target: Path, *, held: int = 0) -> None:
    """
    Refuse a restore that the disk cannot hold, where it *held* so many bytes of it already.

    Raises:
        StorageUnavailable: There is too little space.
    """
    free = shutil.disk_usage(target.parent).free + held
    needed = needed_bytes(plan)
    if free < needed:
        raise StorageUnavailable(
            f"{target.parent} has {free} bytes free, the copy needs {needed}",
            hint="free some space, or choose another path with --to",
        )


def needed_bytes(plan: Plan) -> int:
    """Return how much room must be free for a restore."""
    # What has to be read slowly is fetched first, and lies beside the copy.
    fetched = plan.download_bytes if plan.rate else 0
    return plan.database_bytes + plan.database_bytes // 20 + _SPARE_BYTES + fetched


def _despite_retention(action: Callable[[], T]) -> T:
    for _ in range(_ATTEMPTS - 1):
        with suppress(ObjectNotFound):
            return action()
    return action()


def _plan(source: Source, wish: When, clock: Clock) -> Plan:
    replica = read_replica(source.store, source.keys)
    times = PointTimes(source.store)
    point = choose(replica, wish, now_ms=clock.now_ms(), at_of=times.at_ms)
    history = replica.history(point.epoch)
    files = walk(history.files if history else (), point.txid)
    left = None
    if isinstance(wish, At):
        left = left_behind(replica, point, at_ms=wish.at_ms, at_of=times.at_ms)
    last, answer_ms = _last_header(source, files, clock)
    return Plan(
        name=replica.name,
        point=point,
        at_ms=captured_ms(times, point, last),
        files=files,
        database_bytes=last.database_bytes,
        orphaned=left,
        orphaned_at_ms=times.at_ms(left) if left else 0,
        answer_ms=answer_ms,
        rate=source.pace.per_s if source.pace else None,
    )


def _last_header(source: Source, files: Sequence[LtxFile], clock: Clock) -> tuple[Header, int]:
    """Return it, and how long the bucket takes to answer: the quickest of a few times."""
    times = []
    while True:
        began_ms = clock.elapsed_ms()
        header = _header(source, files, len(files) - 1)
        times.append(clock.elapsed_ms() - began_ms)
        # What may be a busy machine is asked again; a near bucket is asked once.
        if len(times) == _LOOKS or times[-1] < fetching.FAR_MS:
            return header, min(times)


def captured_ms(times: PointTimes, point: Point, last: Header) -> int:
    """
    Return when a point was captured, UTC milliseconds: the same wherever it is told.

    Args:
        times: What is known of the times of points.
        point: Which one.
        last: The header of the last file that leads to it: one of a higher level, it may be.
    """
    try:
        return times.at_ms(point)
    except DamagedObject:
        # The file that knows the time best is damaged, and is not one that is needed.
        return last.timestamp_ms


def _restore(
    source: Source, make: Callable[[], Plan], target: Path, clock: Clock, progress: Progress,
    publish: Publish,
) -> Restored:  # fmt: skip
    plan = make()
    with workspace(target) as folder:

        def attempt() -> Path:
            nonlocal plan
            _remove_unfinished(folder)
            try:
                # What a killed one had written has gone by now, but for what it had fetched.
                check_space(plan, target, held=fetching.held_bytes(folder / FETCHED))
                return _run(source, plan, folder, progress)
            except ObjectNotFound:
                plan = make()  # what was fetched, and is a part of this one too, stays
                raise

        copy = _despite_retention(attempt)
        checked = check_copy(copy)
        size = copy.stat().st_size
        publish(copy, target, _note(plan, copy, clock))
    return Restored(
        plan=plan, path=target, size=size, checks=checked.checks, in_flight=checked.in_flight
    )


def _remove_unfinished(folder: Path) -> None:
    for found in folder.iterdir():
        if found.name == FETCHED:
            continue
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink()


def _run(source: Source, plan: Plan, folder: Path, progress: Progress) -> Path:
    is_fetched = is_fetched_first(
        plan.files, folder, answer_ms=plan.answer_ms, room=needed_bytes(plan), pace=source.pace
    )
    whole = plan.database_bytes + (plan.download_bytes if is_fetched else 0)
    if not is_fetched:
        # What an earlier one has fetched was counted as room, and nobody reads it now.
        shutil.rmtree(folder / FETCHED, ignore_errors=True)
    try:
        return obtain(
            _job(source, plan), folder, lambda done: progress(done, whole),
            first=source.store if is_fetched else None, pace=source.pace,
        )  # fmt: skip
    except DamagedObject:
        # Litestream does not always tell which one; a header that lies can be found.
        for place in range(len(plan.files)):
            _header(source, plan.files, place)
        raise


def _header(source: Source, files: Sequence[LtxFile], place: int) -> Header:
    try:
        return read_header(source.store, files[place])
    except DamagedObject as damage:
        raise aside.with_way_out(damage, files, place) from None


def _job(source: Source, plan: Plan) -> aside.Job:
    path = source.keys.epoch(plan.point.epoch).rstrip("/")
    return aside.Job(
        source=Target(
            bucket=source.bucket.bucket, path=path, region=source.bucket.region,
            endpoint=source.bucket.endpoint,
        ),
        txid=plan.point.txid, plan=plan.files, environment=source.environment,
    )  # fmt: skip


def _note(plan: Plan, copy: Path, clock: Clock) -> bytes:
    """Tell the supervisor what the copy descends from; a link keeps the inode."""
    return msgspec.json.encode({
        "name": plan.name, "epoch": plan.point.epoch, "txid": plan.point.txid,
        "at_ms": clock.now_ms(), "point_at_ms": plan.at_ms, "inode": copy.stat().st_ino,
        "claim": plan.claim,
    })  # fmt: skip
