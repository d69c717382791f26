"""Writing what was found to a file: JSON lines, or Parquet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from obelisk_ops.errors import ProgramMissing, StorageUnavailable, TargetExists, UsageError
from obelisk_ops.storage.targets import check_new

SUFFIXES = (".jsonl", ".parquet")
_INSTEAD = "choose another name, or remove it"
_MOMENTS = ("created_at", "finished_at")


def check_target(path: Path) -> None:
    """
    Refuse a file that cannot be written, before anything is asked.

    Raises:
        UsageError: Its name does not say in which form.
        TargetExists: It is there.
        StorageUnavailable: Its folder is missing, or may not be written.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"{path} says no form", hint=f"let its name end in {' or '.join(SUFFIXES)}"
        )
    check_new(path, instead=_INSTEAD)


def write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Write rows to a new file that only its owner can read, whole or not at all.

    In Parquet a column is of whole numbers, of numbers or of text, by what is in it; those
    that are called ``created_at`` and ``finished_at`` are moments if they hold texts.

    Raises:
        TargetExists: It is there.
        StorageUnavailable: The disk refuses.
        ProgramMissing: Parquet is written by DuckDB, which is not installed.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            lines = Path(folder) / "rows.jsonl"
            with lines.open("wb") as file:
                write_lines(file, rows)
                file.flush()
                os.fsync(file.fileno())
            types = {name: _type(name, [row[name] for row in rows]) for name in columns}
            whole = lines if path.suffix == ".jsonl" else _as_parquet(lines, types)
            whole.chmod(0o600)
            os.link(whole, path)
    except FileExistsError:
        raise TargetExists(f"{path} exists", hint=_INSTEAD) from None
    except OSError as error:
        raise StorageUnavailable(
            f"{path} cannot be written: {error.strerror}",
            hint="check the folder, its mode and its space",
        ) from None


def write_lines(file: BinaryIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as one line of JSON."""
    file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def _type(name: str, values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if name in _MOMENTS and kinds <= {str}:
        return "TIMESTAMP WITH TIME ZONE"
    if kinds and kinds <= {int, float}:
        return "BIGINT" if kinds == {int} else "DOUBLE"
    return "VARCHAR"


def _as_parquet(lines: Path, types: dict[str, str]) -> Path:
    try:
        import duckdb  # noqa: PLC0415 - large, and for this alone
    except ImportError:
        raise ProgramMissing(
            "Parquet is written by DuckDB, which is not installed",
            hint="pip install 'obelisk-ops[parquet]', or write .jsonl",
        ) from None
    written = lines.with_name("rows.parquet")
    with duckdb.connect(":memory:") as connection:
        rows = connection.read_json(str(lines), format="newline_delimited", columns=types)
        rows.write_parquet(str(written))
    return written
