"""
What drills have found: one note for each database, kept in the state folder.

    <state_dir>/drills.json

Written by whoever did a drill, read by whoever shows a status.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from obelisk_ops.core.clock import iso
from obelisk_ops.core.when import Txid, parse
from obelisk_ops.errors import Unproven, VerificationFailed
from obelisk_ops.restore.drill.result import Drilled, Outcome
from obelisk_ops.restore.prune.plan import Proof
from obelisk_ops.supervise.sidecar import private_folder, read_note, write_private

_DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """
    One drill.

    Attributes:
        at_ms: When it began; UTC milliseconds.
        outcome: How it ended.
        points: The points that were restored and found good, as ``--at`` takes them.
        seconds: How long it took.
        detail: Why it is not ok.
    """

    at_ms: int
    outcome: Outcome
    points: tuple[str, ...] = ()
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    What is known of one replica.

    Attributes:
        url: Where it lies: elsewhere there is another of the same name.
        last: The last drill.
        good: The last one that proved it; None if there was none.
    """

    url: str
    last: Note
    good: Note | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """The last drill in the form that ``status`` prints."""
        return {
            "at": iso(self.last.at_ms),
            "outcome": self.last.outcome.value,
            "good_at": iso(self.good.at_ms) if self.good else None,
            "points": list(self.last.points),
            "detail": self.last.detail,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    entries: dict[str, Entry] = field(default_factory=dict)


_decode = msgspec.json.Decoder(_Book).decode


class Drillbook:
    """The notes of one state folder; read again only when their file has changed."""

    def __init__(self, state_dir: Path, url: str) -> None:
        self._path, self._url = state_dir / "drills.json", url
        self._seen: tuple[int, ...] | None = None
        self._book = _Book()

    def entry(self, name: str) -> Entry | None:
        """Return what is known of a replica; None if nothing is."""
        self._refresh()
        found = self._book.entries.get(name)
        return found if found and found.url == self._url else None

    def note(self, drilled: Drilled) -> None:
        """
        Note what a drill has found. Call it while no other drill runs here.

        Raises:
            StorageUnavailable: It cannot be written.
        """
        before = self.entry(drilled.name)
        last = note_of(drilled)
        is_good = last.outcome is Outcome.OK
        good = last if is_good else (before.good if before else None)
        entry = Entry(url=self._url, last=last, good=good)
        book = replace(self._book, entries=self._book.entries | {drilled.name: entry})
        private_folder(self._path.parent)
        write_private(self._path, msgspec.json.encode(book))

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except OSError:
            self._seen, self._book = None, _Book()
            return
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._seen, self._book = seen, read_note(self._path, _decode) or _Book()


def proof_of(entry: Entry | None, name: str) -> Proof:
    """
    Return what pruning may rely on.

    Raises:
        Unproven: No drill here has proven the replica.
        VerificationFailed: The last one has disproven it.
    """
    drill = f"obelisk-ops replica drill {name}"
    if entry is not None and entry.last.outcome is Outcome.FAILED:
        raise VerificationFailed(
            f"the last drill of '{name}' failed; nothing is pruned: {entry.last.detail}",
            hint=f"mend it, and prove it: {drill}",
        )
    if entry is None or entry.good is None:
        raise Unproven(f"no drill here has proven '{name}'; nothing is pruned", hint=drill)
    epochs = [wish.epoch for point in entry.good.points if (wish := _point(point))]
    return Proof(at_ms=entry.good.at_ms, epoch=max((e for e in epochs if e), default=0))


def _point(text: str) -> Txid | None:
    meant = parse(text, 0)
    return meant if isinstance(meant, Txid) else None


def note_of(drilled: Drilled) -> Note:
    """Return what is kept of a drill."""
    good = [tried.point for tried in drilled.tried if tried.outcome is Outcome.OK]
    return Note(
        at_ms=drilled.at_ms, outcome=drilled.outcome, points=tuple(good),
        seconds=round(drilled.seconds, 1), detail=drilled.detail[:_DETAIL_CHARS],
    )  # fmt: skip
