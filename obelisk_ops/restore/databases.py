"""What a DB argument means: a file, or a backup of one at some moment."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import apsw

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.when import When
from obelisk_ops.errors import UsageError
from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.inspect.summary import Summary, summarise, summarise_in_place
from obelisk_ops.replica.image import Image
from obelisk_ops.restore.service import Plan, Restored, Source, make_plan, restore

#: How long a command usually reads at most: what is here, and what has to come from the bucket.
FILE_S, BACKUP_S = 60.0, 600.0

_NAMED_EPOCH = re.compile(r"([^/@]+)@(e[0-9]+/txid:.*)")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """
    A replica at a moment.

    Attributes:
        name: The database's name.
        when: The moment as it was written; see ``core.when``.
        bucket: Another bucket than the configured one, if the argument was a URL.
        prefix: The folder of replicas in it.
    """

    name: str
    when: str = "latest"
    bucket: str | None = None
    prefix: str = ""


Database: TypeAlias = LocalFile | Backup


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHere:
    """A file to read; ``plan`` says what it was restored from, if it was for this."""

    name: str
    path: Path
    plan: Plan | None = None
    limit_s: float = FILE_S

    def open(self) -> AbstractContextManager[apsw.Connection]:
        """See ``open_read_only``."""
        return open_read_only(self.path, limit_s=self.limit_s)

    def summarise(self) -> Summary:
        """See ``summarise``."""
        return summarise(self.path, limit_s=self.limit_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupInPlace:
    """A backup to read where it is."""

    name: str
    plan: Plan
    image: Image
    limit_s: float = BACKUP_S

    def open(self) -> AbstractContextManager[apsw.Connection]:
        """See ``open_in_place``."""
        return open_in_place(self.image, self.name, limit_s=self.limit_s)

    def summarise(self) -> Summary:
        """See ``summarise_in_place``."""
        return summarise_in_place(self.image, self.name, limit_s=self.limit_s)


Place: TypeAlias = FileHere | BackupInPlace


def parse_database(text: str, *, exists: Callable[[str], bool]) -> Database:
    """
    Return what *text* means.

    With a ``/``, ending in ``.db``, or an existing file: a path. Else a name, or
    NAME@WHEN, split at the last ``@``. An ``s3://`` URL ends in a name.

    Raises:
        UsageError: It cannot be a database to look into.
    """
    if text.startswith("s3://"):
        return _parse_url(text)
    if "://" in text:
        raise UsageError(
            f"{text.partition(':')[0]} databases are not read by this command",
            hint="name a file, a backup NAME, NAME@WHEN or s3://bucket/prefix/NAME",
        )
    if found := _NAMED_EPOCH.fullmatch(text):
        return Backup(name=found.group(1), when=found.group(2))
    if "/" in text or text.endswith(".db") or exists(text):
        return LocalFile(Path(text))
    name, at, when = text.rpartition("@")
    return Backup(name=name, when=when) if at else Backup(name=text)


@contextmanager
def temporary_copy(source: Source, wish: When, clock: Clock) -> Iterator[Restored]:
    """Restore into a private folder that exists as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="obelisk-ops-") as folder:
        target = Path(folder) / f"{source.keys.name}.db"
        yield restore(source, wish, target, clock=clock, progress=_ignore)


@contextmanager
def in_place(source: Source, wish: When, clock: Clock, *, name: str) -> Iterator[BackupInPlace]:
    """
    Read a backup where it is, for as long as the block runs; nothing is written anywhere.

    Raises:
        OpsError: See ``make_plan`` and ``Image``.
    """
    plan = make_plan(source, wish, clock)
    point = plan.point
    with Image(source.store, source.keys, point.epoch, point.txid, plan.files) as image:
        yield BackupInPlace(name=name, plan=plan, image=image)


def _ignore(_written: int, _expected: int) -> None:
    return None


def _parse_url(text: str) -> Backup:
    before, at, behind = text.rpartition("@")
    url, when = (before, behind) if at else (text, "latest")
    parts = urlsplit(url)
    prefix, _, name = parts.path.strip("/").rpartition("/")
    if not parts.netloc or not name:
        raise UsageError(
            f"{text!r} names no backup", hint="write s3://bucket/prefix/NAME or …/NAME@WHEN"
        )
    return Backup(name=name, when=when, bucket=parts.netloc, prefix=prefix)
