"""
What the bucket was once seen to hold of a database, kept beside it.

    .<file>-obelisk/ledger.json

The bucket alone cannot tell that its newest objects are gone: what is left looks like the
end. So the last position that a listing of ours has shown is written down here, and synced.
What was written late, or is lost, makes the ledger stand behind the bucket, which proves
nothing; it never stands before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from obelisk_ops.replica.layout import epoch_name
from obelisk_ops.supervise.position import Remote
from obelisk_ops.supervise.sidecar import read_note, write_private

#: A database that is written all the time costs one sync a second here.
PAUSE_MS = 1_000
_KEPT_MAX = 20
#: How long what went wrong is shown after it was healed.
SHOWN_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    The last position that was seen.

    Attributes:
        epoch: The epoch it is of.
        owner: The id of its opening: an epoch of another file has another one.
        remote: Where the bucket stood.
    """

    epoch: int
    owner: str
    remote: Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """
    Transactions that were in the bucket and are not.

    Attributes:
        epoch: The epoch they were in.
        first: The first of them.
        last: The last of them.
        at_ms: When that was certain; UTC milliseconds.
    """

    epoch: int
    first: int
    last: int
    at_ms: int

    @property
    def words(self) -> str:
        """What was lost, in words."""
        where = epoch_name(self.epoch)
        if self.first == self.last:
            return f"transaction {self.first} of {where} was lost from the bucket"
        return f"transactions {self.first} to {self.last} of {where} were lost from the bucket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrusion:
    """
    That somebody else wrote into an epoch of ours.

    Attributes:
        epoch: The epoch.
        first: The first transaction that may not be what it was.
        why: How that is known, in words.
        at_ms: When it was seen; UTC milliseconds.
    """

    epoch: int
    first: int
    why: str
    at_ms: int

    @property
    def words(self) -> str:
        """What happened, in words."""
        where = epoch_name(self.epoch)
        trusted = f"up to transaction {self.first - 1}" if self.first > 1 else "nowhere"
        return f"another program wrote into {where}, which can be trusted {trusted}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """The whole ledger: the last entry, and what went wrong of late, oldest first."""

    entry: Entry | None = None
    losses: tuple[Loss, ...] = ()
    intrusions: tuple[Intrusion, ...] = ()


_decode = msgspec.json.Decoder(Pages).decode


class Ledger:
    """
    The ledger of one database, for one epoch.

    Attributes:
        epoch: The epoch.
        pages: What it says.
    """

    def __init__(self, folder: Path, *, epoch: int, owner: str) -> None:
        self._path = folder / "ledger.json"
        self.epoch, self._owner = epoch, owner
        self.pages = read_note(self._path, _decode) or Pages()
        self._written = self.pages
        self._written_ms: int | None = None

    @property
    def acknowledged(self) -> Remote:
        """Where the bucket was seen to stand in this epoch."""
        entry = self.pages.entry
        if entry is None or (entry.epoch, entry.owner) != (self.epoch, self._owner):
            return Remote()
        return entry.remote

    def note(self, remote: Remote) -> None:
        """Note where the bucket stands; it is on disk after the next ``write``."""
        if remote.txid and remote != self.acknowledged:
            entry = Entry(epoch=self.epoch, owner=self._owner, remote=remote)
            self.pages = replace(self.pages, entry=entry)

    def note_loss(self, loss: Loss) -> None:
        """Note that something is lost."""
        losses = (*self.pages.losses, loss)[-_KEPT_MAX:]
        self.pages = replace(self.pages, losses=losses)

    def note_intrusion(self, intrusion: Intrusion) -> None:
        """Note that somebody else wrote into the epoch."""
        intrusions = (*self.pages.intrusions, intrusion)[-_KEPT_MAX:]
        self.pages = replace(self.pages, intrusions=intrusions)

    def words_of_losses(self, now_ms: int) -> tuple[str, ...]:
        """Say what was lost of late; *now_ms* is UTC."""
        return tuple(loss.words for loss in self.pages.losses if now_ms - loss.at_ms < SHOWN_MS)

    def words_of_intrusions(self, now_ms: int) -> tuple[str, ...]:
        """Say who else wrote of late; *now_ms* is UTC."""
        return tuple(
            intrusion.words
            for intrusion in self.pages.intrusions
            if now_ms - intrusion.at_ms < SHOWN_MS
        )

    def is_due(self, now_ms: int) -> bool:
        """Tell whether there is something to write, and the last time was long enough ago."""
        rested = self._written_ms is None or now_ms - self._written_ms >= PAUSE_MS
        return rested and self.pages != self._written

    def write(self, now_ms: int) -> None:
        """
        Bring it to disk, if there is anything new.

        Raises:
            StorageUnavailable: It could not be written.
        """
        pages = self.pages
        if pages != self._written:
            self._written_ms = now_ms
            write_private(self._path, msgspec.json.encode(pages))
            self._written = pages
