"""What the rest of the package knows of object storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object as a listing shows it."""

    key: str
    size: int
    modified_ms: int  # by the clock of the store
    etag: str  # opaque: compare it, or give it back as if_match


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An object that was read, or the range of it that was asked for."""

    body: bytes
    info: ObjectInfo  # size is that of the whole object
    metadata: Mapping[str, str]


class Inquiry(Protocol):
    """A small object that was asked for, for who has other things to do meanwhile."""

    def fileno(self) -> int:
        """Return the file descriptor that can be read when something has come."""
        ...

    def answer(self) -> Fetched | None:
        """
        Return the object; None as long as more has to come.

        Raises:
            OSError: The connection was broken; ``look`` for it.
            ValueError: It was not plainly answered; ``look`` for it.
        """
        ...

    def close(self) -> None:
        """Let go of it, answered or not."""
        ...


class ObjectStore(Protocol):
    """
    One bucket.

    Every method may raise S3Unavailable, BucketMissing, CredentialsError or
    ClockError; only what comes on top is said at each.
    """

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """
        Return the objects whose keys start with *prefix*, fetched page by page.

        Args:
            prefix: Compared as text; end it with a slash to mean a folder.
            after: Only keys greater than this one.

        Returns:
            In the order of their keys, as long as the keys differ only within
            one folder. (S3 orders whole keys; some compatible servers order
            folder by folder, which differs where one folder's name begins
            with another's.)
        """
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """Return what follows *prefix* up to the next slash, each once, without the slash."""
        ...

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        """
        Read an object, or its bytes *first* to *last*, both included.

        Args:
            key: The object.
            first: Offset of the first byte; None is the start.
            last: Offset of the last byte; None is the end. Beyond the end is no error.

        Raises:
            ObjectNotFound: There is none.
            DamagedObject: It ends before *first*.
        """
        ...

    def beginnings(self, keys: Sequence[str], size: int) -> Mapping[str, bytes]:
        """
        Read the first *size* bytes of many objects at once.

        Those that are gone, or empty, are left out; of shorter ones all is returned.
        """
        ...

    def notes(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the metadata of many objects at once; those that are gone are left out."""
        ...

    def head(self, key: str) -> tuple[ObjectInfo, Mapping[str, str]]:
        """
        Return what is known about an object without reading it, and its metadata.

        Raises:
            ObjectNotFound: There is none.
        """
        ...

    def look(self, key: str) -> Fetched:
        """
        Read a small object whole, at less cost than ``get``; without its metadata.

        Raises:
            ObjectNotFound: There is none.
        """
        ...

    def ask(self, key: str) -> Inquiry | None:
        """
        Ask for what ``look`` reads, and return at once.

        None, and nothing was sent, where that would take waiting: for a connection, or for
        credentials. It takes none soon after a ``look`` at the same key.
        """
        ...

    def is_there(self, key: str) -> bool:
        """Tell whether there is such an object, at less cost than ``head``."""
        ...

    def put(
        self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """
        Write an object whole, and return its new ETag.

        When it raises S3Unavailable, the object may or may not have been
        written: read it before deciding anything.

        Args:
            key: The object.
            body: All of it.
            if_absent: Only if there is none.
            if_match: Only if the present one has this ETag. Equal bytes have equal
                ETags: a lease that is written again must differ from the last one,
                by a counter or a time, or two writers may both match.

        Raises:
            PreconditionFailed: Another writer was first.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""
        ...

    def server_time_ms(self) -> int:
        """Return the store's clock, in UTC milliseconds; it is exact to a second."""
        ...
