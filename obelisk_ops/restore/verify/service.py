"""
Verifying a replica: every object is read and proven, and held against what says the same.

Nothing is restored and nothing is written. What is wrong is told with what it costs: the
restore points that need it, and how many of them come back without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import merge
from typing import Protocol

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import DamagedObject, ObjectNotFound
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import EpochHistory, LtxFile, Replica
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL, epoch_name
from obelisk_ops.replica.line import Line, breaks, judge
from obelisk_ops.replica.reading import list_epoch, read_replica
from obelisk_ops.restore.service import Source
from obelisk_ops.restore.verify.damage import Cost, cost_of
from obelisk_ops.restore.verify.levels import Contradiction, Levels
from obelisk_ops.restore.verify.parts import Part
from obelisk_ops.restore.verify.proof import CHUNK_BYTES, Proven, chunks_of, prove

DAMAGED, FOREIGN, CONTRADICTION, GAP = "damaged", "foreign", "contradiction", "gap"

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing that is wrong.

    Attributes:
        kind: ``damaged``: an object is not what Litestream wrote. ``foreign``: it is not of
            this database. ``contradiction``: one of several objects must be bad.
            ``gap``: transactions are missing.
        files: The objects, the most suspicious first; none for a gap.
        why: What is wrong.
        epoch: Where.
        cost: What it costs.
    """

    kind: str
    why: str
    epoch: int
    files: tuple[LtxFile, ...] = ()
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """
    What was found.

    Attributes:
        name: The replica.
        at_ms: When it began; UTC milliseconds.
        objects: How many there are.
        checked: How many were read.
        checked_bytes: Their bytes.
        alone: Those that were read and could be held against nothing: whose they are,
            nothing tells.
        points: How many restore points there are.
        epoch: What a restore of the newest state reads; those before it are closed.
        findings: What is wrong; nothing if all is well.
        notices: What is not wrong, and should be known.
        seconds: How long it took.
    """

    name: str
    at_ms: int
    objects: int
    checked: int
    checked_bytes: int
    alone: tuple[LtxFile, ...]
    points: int
    epoch: int
    findings: tuple[Finding, ...]
    notices: tuple[str, ...]
    seconds: float


class Watch(Protocol):
    """Told the bytes that were read, and the bytes that there are."""

    def __call__(self, done: int, total: int) -> None:
        """See the class."""
        ...


def verify(source: Source, part: Part | None, *, clock: Clock, watch: Watch) -> Verified:
    """
    Read the objects of a replica, or a part of them.

    Raises:
        ReplicaNotFound: There is no such replica.
        DamagedObject: The marker of an epoch cannot be read.
        OpsError: The bucket does not answer.
    """
    at_ms, began_ms = clock.now_ms(), clock.elapsed_ms()
    replica = read_replica(source.store, source.keys)
    run = _Run(source, replica, part, watch)
    findings = [finding for history in replica.epochs for finding in run.epoch(history)]
    return Verified(
        name=replica.name, at_ms=at_ms, objects=replica.objects, checked=run.checked,
        checked_bytes=run.done, alone=tuple(run.alone), points=len(replica.points),
        epoch=replica.current.epoch if replica.current else 0,
        findings=tuple(findings), notices=tuple(_notices(replica)),
        seconds=(clock.elapsed_ms() - began_ms) / 1000,
    )  # fmt: skip


class _Run:
    def __init__(
        self, source: Source, replica: Replica, part: Part | None, watch: Watch
    ) -> None:
        self._source, self._part, self._watch = source, part, watch
        files = [file for history in replica.epochs for file in self._wanted(history)]
        self._total = sum(file.size for file in files)
        self.checked = self.done = 0
        self.alone: list[LtxFile] = []

    def epoch(self, history: EpochHistory) -> list[Finding]:
        """Read one epoch."""
        damaged: dict[LtxFile, str] = {}
        contradictions: list[Contradiction] = []
        levels, wanted = Levels(), self._wanted(history)
        # Single changes first: they tell each other, and snapshots, who is a stranger.
        shipped = {
            proven.file: proven
            for proven in self._read([f for f in wanted if not f.level], history, damaged)
        }
        line = judge([(file, proven.header) for file, proven in shipped.items()])
        rest = self._read([f for f in wanted if f.level], history, damaged)
        sound: list[LtxFile] = []
        for proven in merge(shipped.values(), rest, key=lambda proven: _place(proven.file)):
            sound.append(proven.file)
            line.strangers.update(_blamed(line, proven, shipped))
            # Of a part of the objects, nothing that says the same as another is there.
            if self._part is None and proven.file not in line.strangers:
                contradictions += levels.add(proven)
        told = line.vouched | line.strangers.keys() | levels.compared
        self.alone += [file for file in sound if file not in told]
        return list(_findings(history, damaged, line.strangers, contradictions))

    def _read(
        self, files: Sequence[LtxFile], history: EpochHistory, damaged: dict[LtxFile, str]
    ) -> Iterator[Proven]:
        """Yield the objects that are whole, and note in *damaged* those that are not."""
        gone = []
        for file, body in _bodies(self._source.store, files):
            try:
                yield prove(body, file)
            except DamagedObject as damage:
                damaged[file] = damage.message
            except ObjectNotFound:
                gone.append(file)
            self.checked, self.done = self.checked + 1, self.done + file.size
            self._watch(self.done, self._total)
        damaged.update(self._unreadable(history, gone))

    def _wanted(self, history: EpochHistory) -> list[LtxFile]:
        part = self._part
        found = [file for file in history.files if part is None or part.holds(file.key)]
        return sorted(found, key=_place)

    def _unreadable(self, history: EpochHistory, gone: Sequence[LtxFile]) -> dict[LtxFile, str]:
        """Return those of the vanished that are still listed; the others were retention's."""
        if not gone:
            return {}
        listed = {
            f.key for f in list_epoch(self._source.store, self._source.keys, history.epoch)
        }
        return {
            file: f"the object {file.key} is listed and cannot be read"
            for file in gone if file.key in listed
        }  # fmt: skip


def _bodies(
    store: ObjectStore, files: Sequence[LtxFile]
) -> Iterator[tuple[LtxFile, Iterable[bytes]]]:
    """Yield each object and its bytes, those of small ones read ahead."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        ahead: deque[tuple[LtxFile, Future[bytes] | None]] = deque()
        waiting = iter(files)
        while True:
            while len(ahead) < _AT_ONCE and (file := next(waiting, None)) is not None:
                is_small = file.size <= CHUNK_BYTES
                ahead.append((file, pool.submit(_whole, store, file) if is_small else None))
            if not ahead:
                return
            file, body = ahead.popleft()
            yield file, _read(body) if body is not None else chunks_of(store, file)


def _whole(store: ObjectStore, file: LtxFile) -> bytes:
    return b"".join(chunks_of(store, file))


def _read(body: Future[bytes]) -> Iterator[bytes]:
    yield body.result()


def _place(file: LtxFile) -> tuple[int, int]:
    return file.max_txid, file.level


def _blamed(
    line: Line, snapshot: Proven, shipped: Mapping[LtxFile, Proven]
) -> dict[LtxFile, str]:
    """Return the strangers if what was shipped behind a snapshot does not go on from it."""
    if snapshot.file.level != SNAPSHOT_LEVEL:
        return {}
    behind = [f for f in shipped if f.min_txid == snapshot.file.max_txid + 1]
    pairs = [(snapshot.file, snapshot.header), *((f, shipped[f].header) for f in behind)]
    broken = next(breaks(pairs), None)
    return line.blame(broken) if broken else {}


def _findings(
    history: EpochHistory,
    damaged: Mapping[LtxFile, str],
    strangers: Mapping[LtxFile, str],
    contradictions: Sequence[Contradiction],
) -> Iterator[Finding]:
    suspects = [
        *(((file,), DAMAGED, why) for file, why in damaged.items()),
        *(((file,), FOREIGN, why) for file, why in strangers.items()),
        *(((one.upper, *one.lower), CONTRADICTION, one.why) for one in contradictions),
    ]
    bad = {files[0] for files, _, _ in suspects}
    for files, kind, why in suspects:
        cost = cost_of(history, files, bad)
        yield Finding(kind=kind, why=why, epoch=history.epoch, files=files, cost=cost)
    for gap in history.gaps:
        if not gap.is_pending:
            first, last = gap.after_txid + 1, gap.before_txid - 1
            yield Finding(
                kind=GAP, why=f"the transactions {first} to {last} are missing",
                epoch=history.epoch,
            )  # fmt: skip


def _notices(replica: Replica) -> Iterator[str]:
    current = replica.current
    if current is None or not current.points:
        yield "nothing of it can be restored"
    elif all(file.level != SNAPSHOT_LEVEL for file in current.files):
        name = epoch_name(current.epoch)
        yield f"{name} holds no snapshot: a restore needs every other object of it"
