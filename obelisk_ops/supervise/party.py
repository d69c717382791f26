"""Who holds a lease, and what of it is kept for the next process of the same state folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from obelisk_ops.supervise.sidecar import write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """
    The note of a lease.

    It is good for the same run of the machine, the same place in object storage, and the
    same folder: the inode tells it from a copy, whose original may still live.
    """

    id: str
    boot_id: str
    place: str
    folder: int


_decode = msgspec.json.Decoder(Kept).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """
    Who holds a lease.

    Attributes:
        prefix: Where in the bucket.
        place: Endpoint, bucket and prefix as one text.
        host: This machine.
        boot_id: This run of it; empty where the system has no such thing.
        ttl_ms: How long a lease holds.
        file: Where its id is kept; None keeps none.
    """

    prefix: str
    place: str
    host: str
    boot_id: str
    ttl_ms: int
    file: Path | None = None

    def kept(self) -> str | None:
        """Return the lease that the last process of this state folder left behind."""
        if self.file is None or not self.boot_id:
            return None
        try:
            kept = _decode(self.file.read_bytes())
            return kept.id if kept == self._note(self.file, kept.id) else None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def keep(self, lease: str) -> None:
        """
        Keep the id of a lease, before it is written.

        Raises:
            StorageUnavailable: The state folder cannot be written.
        """
        if self.file is not None:
            write_private(self.file, msgspec.json.encode(self._note(self.file, lease)))

    def forget(self, lease: str) -> None:
        """Keep the id of a lease no longer: it was given back."""
        if self.file is not None and self.kept() == lease:
            self.file.unlink(missing_ok=True)

    def _note(self, file: Path, lease: str) -> Kept:
        folder = file.parent.stat().st_ino
        return Kept(id=lease, boot_id=self.boot_id, place=self.place, folder=folder)
