"""What a restored copy must hold to count as proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from obelisk_ops.inspect import summary
from obelisk_ops.inspect.apart import read_apart
from obelisk_ops.inspect.meaning import FAILED, OK, SKIPPED, Code, Meaning, read_meaning
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.process.apart import Limits
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.line import breaks


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """
    What is known of a point before it is restored.

    Attributes:
        files: What it is restored from, with their headers.
        database_id: The id that the database has, if that is known.
    """

    files: Sequence[tuple[LtxFile, Header]]
    database_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found in a copy; ``database_id`` is what it says of itself."""

    meaning: Meaning
    checks: Mapping[str, str]
    database_id: str | None = None


_LOOKED = msgspec.json.Decoder(Looked)
_MORE = (
    "raise --within or drill.timeout; or restore it, and inspect the copy with more --memory"
)


def look_at(path: Path, expected: Expected, *, code: Code | None, limit_s: float) -> Looked:
    """
    Check a copy that nobody else has open, in a process of its own.

    Raises:
        CorruptDatabase: It is no database.
        VerificationFailed: It does not hold what its schema says.
        LimitExceeded: It could not be read in *limit_s*, or in the memory for it.
        ReaderCrashed: The process that read it crashed.
    """
    return read_apart(
        lambda: _look(path, expected, code, limit_s), _LOOKED, name=path,
        limits=Limits(time_s=limit_s), more=_MORE,
    )  # fmt: skip


def _look(path: Path, expected: Expected, code: Code | None, limit_s: float) -> Looked:
    checks = {"txid": OK, "line": _line(expected), "size": _size(path, expected)}
    with open_read_only(path, limit_s=limit_s) as connection, connection:
        damage = summary.quick_check(connection)
        if damage:
            checks["pages"] = f"{FAILED}: {damage[0]}"
            return Looked(meaning=Meaning(), checks=checks)
        checks["pages"] = OK
        meaning = read_meaning(connection, path, code)
        is_ours = summary.is_workflow_database(connection)
        said = summary.read_meta(connection).get("database_id") if is_ours else None
    checks["database"] = _identity(said, expected.database_id)
    return Looked(meaning=meaning, checks=checks | meaning.checks, database_id=said)


def _line(expected: Expected) -> str:
    found = next(breaks(expected.files), None)
    if found is None:
        return OK
    return f"{FAILED}: {found.words}"


def _size(path: Path, expected: Expected) -> str:
    size, wanted = path.stat().st_size, expected.files[-1][1].database_bytes
    return OK if size == wanted else f"{FAILED}: {size} bytes instead of {wanted}"


def _identity(said: str | None, wanted: str | None) -> str:
    if said is None:
        return f"{SKIPPED}: it does not say which database it is"
    if wanted is None or said == wanted:
        return OK
    return f"{FAILED}: it is the database {said}; this epoch is of {wanted}"
