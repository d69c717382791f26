"""
``litestream restore``: its configuration, its command line, and what its output means.

It exits with 0 or 1 and tells the reason only in words, so this is the one
place that reads an error's text. A word that is not known means "failed",
never "fine".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec
import yaml

from obelisk_ops.litestream.config import Target
from obelisk_ops.litestream.ltx import hex_txid

_LAST_LINE_CHARS = 300

#: "read page header 2", "close reader 2", "header for input 2": the file's place in the plan
_INPUT = re.compile(r"(?:read page header|close reader|header for input) ([0-9]+)\b")


class Trouble(StrEnum):
    """Why a restore failed, as far as the caller can do something about it."""

    DAMAGED = "damaged"
    MISSING = "missing"
    DISK = "disk"
    BUCKET = "bucket"
    CREDENTIALS = "credentials"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


#: the first that matches counts; compared in lower case
_WORDS: tuple[tuple[Trouble, tuple[str, ...]], ...] = (
    (Trouble.DISK, ("no space left on device", "disk quota exceeded", "file too large",
                    "read-only file system", "input/output error")),
    (Trouble.BUCKET, ("nosuchbucket",)),
    (Trouble.CREDENTIALS, ("signaturedoesnotmatch", "invalidaccesskeyid", "accessdenied",
                           "expiredtoken", "no ec2 imds role found",
                           "failed to refresh cached credentials")),
    # Before damage: where a line breaks within an object, decoding it fails too.
    (Trouble.UNREACHABLE, ("exceeded maximum number of attempts", "connection refused",
                           "max retries exceeded reading", "connection reset", "broken pipe",
                           "no such host", "i/o timeout", "deadline exceeded", "slowdown",
                           "serviceunavailable")),
    (Trouble.DAMAGED, ("checksum mismatch", "lz4:", "unexpected eof", "invalid ltx file",
                       "invalid page size", "nonsequential page numbers", "decode header",
                       "decode page", "decode database")),
    (Trouble.MISSING, ("no matching backup files", "nosuchkey", "non-contiguous ltx files",
                       "file does not exist")),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """
    What the output of a failed restore says.

    Attributes:
        trouble: What kind of failure it is.
        input: The place of the guilty file in the plan, from 0; None if it is not told.
        said: Its last words, for the message.
    """

    trouble: Trouble
    input: int | None
    said: str


class Summary(msgspec.Struct):
    """What it prints when it is done."""

    txid: str


_decode_summary = msgspec.json.Decoder(Summary).decode


def to_yaml(source: Target | Path, database: Path) -> str:
    """Return a configuration in which *database* is replicated at *source*."""
    replica = _in_folder(source) if isinstance(source, Path) else _in_bucket(source)
    settings = {"dbs": [{"path": str(database), "replica": replica}]}
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _in_folder(source: Path) -> dict[str, object]:
    return {"type": "file", "path": str(source)}


def _in_bucket(source: Target) -> dict[str, object]:
    replica: dict[str, object] = {
        "type": "s3", "bucket": source.bucket, "path": source.path, "region": source.region,
    }  # fmt: skip
    if source.endpoint:
        replica |= {"endpoint": source.endpoint, "force-path-style": True}
    return replica


def argv(program: Path, *, config: Path, database: Path, txid: int, output: Path) -> list[str]:
    """
    Return the command that writes *output* as it was after *txid*.

    The form with a configuration: the one with a URL compares the moment with
    the times of the bucket. Never with ``-force``, which deletes first.
    """
    return [
        str(program), "restore", "-config", str(config), "-no-expand-env",
        "-txid", hex_txid(txid), "-o", str(output), "-integrity-check", "none", "-json",
        str(database),
    ]  # fmt: skip


def obtained_txid(output: str) -> int | None:
    """Return the transaction that a restore says it reached; None if it says none."""
    start = output.find("{")
    try:
        summary = _decode_summary(output[start : output.rfind("}") + 1])
        return int(summary.txid, 16)
    except (msgspec.DecodeError, ValueError):
        return None


def read_failure(output: str) -> Failure:
    """Find out why a restore failed."""
    said = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    lowered = output.lower()
    kinds = (kind for kind, words in _WORDS if any(word in lowered for word in words))
    trouble = next(kinds, Trouble.UNKNOWN)
    found = _INPUT.search(output) if trouble is Trouble.DAMAGED else None
    return Failure(
        trouble=trouble,
        input=int(found.group(1)) if found else None,
        said=said.strip().removeprefix("Error: ")[:_LAST_LINE_CHARS],
    )
