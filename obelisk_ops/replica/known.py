"""
When files were captured, kept on this machine once it was read.

    <cache>/obelisk-ops/times/<hash of the place>    a checksum, a line break, JSON

An object of a replica is never changed: what its header said holds as long as its ETag, its
size and its time of arrival are the same. This is a cache and nothing more: a file that is
damaged, of another place or of another form is thrown away, one that cannot be written is
done without.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import msgspec

from obelisk_ops.replica.catalogue import LtxFile

_FORM = 1
_FILES_MAX = 200_000
_FOLDER_BYTES_MAX = 64 << 20

#: ETag, size, time of arrival; and what is known: the time in the header
_Entry: TypeAlias = tuple[str, int, int, int]


class _Page(msgspec.Struct):
    form: int
    place: str
    times: dict[str, _Entry]


_decode = msgspec.json.Decoder(_Page).decode


class KnownTimes:
    """The times in the headers of one replica's files."""

    def __init__(self, folder: Path | None, place: str) -> None:
        """
        Read what is known.

        Args:
            folder: Where it is kept; None to forget all at the end.
            place: Which replica, in full: two of them never share a file.
        """
        name = hashlib.sha256(place.encode()).hexdigest()[:32]
        self._file = folder / name if folder else None
        self._place = place
        self._times = self._read()
        self._is_changed = False

    def get(self, file: LtxFile) -> int | None:
        """Return the time in the header of a file, in UTC milliseconds; None if not known."""
        found = self._times.get(file.key)
        return found[3] if found and found[:3] == _identity(file) else None

    def learn(self, file: LtxFile, timestamp_ms: int) -> None:
        """Note what the header of a file says."""
        if file.etag:  # else nothing tells another object from it
            self._times[file.key] = (*_identity(file), timestamp_ms)
            self._is_changed = True

    def save(self, listed: Iterable[LtxFile]) -> None:
        """Write what is news, whole or not at all, and only of files that are *listed*."""
        if self._file is None or not self._is_changed:
            return
        there = [file.key for file in listed][-_FILES_MAX:]
        kept = {key: self._times[key] for key in there if key in self._times}
        body = msgspec.json.encode(_Page(form=_FORM, place=self._place, times=kept))
        with suppress(OSError):
            _write(self._file, _checksum(body) + b"\n" + body)
            _limit(self._file.parent)
            self._is_changed = False

    def _read(self) -> dict[str, _Entry]:
        if self._file is None:
            return {}
        try:
            checksum, _, body = self._file.read_bytes().partition(b"\n")
            page = _decode(body)
        except (OSError, ValueError):  # msgspec's errors are of this kind
            return {}
        is_whole = checksum == _checksum(body)
        is_ours = (page.form, page.place) == (_FORM, self._place)
        return page.times if is_whole and is_ours else {}


def _identity(file: LtxFile) -> tuple[str, int, int]:
    return file.etag, file.size, file.modified_ms


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _limit(folder: Path) -> None:
    files = [(file.stat().st_mtime_ns, file) for file in folder.iterdir() if file.is_file()]
    left = _FOLDER_BYTES_MAX
    for _, file in sorted(files, reverse=True):
        left -= file.stat().st_size
        if left < 0:
            file.unlink(missing_ok=True)
