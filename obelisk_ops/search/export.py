"""Writing what was found to a file: JSON lines, or Parquet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from obelisk_ops.errors import ProgramMissing, StorageUnavailable, TargetExists, UsageError

SUFFIXES = (".jsonl", ".parquet")


def check_target(path: Path) -> None:
    """
    Refuse a file that cannot be written, before anything is asked.

    Raises:
        UsageError: Its name does not say in which form.
        TargetExists: It is there.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"{path} says no form", hint=f"let its name end in {' or '.join(SUFFIXES)}"
        )
    if path.exists():
        raise TargetExists(f"{path} exists", hint="choose another name, or remove it")


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """
    Write rows to a new file, whole or not at all.

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
            whole = lines if path.suffix == ".jsonl" else _as_parquet(lines)
            os.link(whole, path)
    except FileExistsError:
        raise TargetExists(f"{path} exists", hint="choose another name, or remove it") from None
    except OSError as error:
        raise StorageUnavailable(f"{path} cannot be written: {error.strerror}") from None


def write_lines(file: BinaryIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as one line of JSON."""
    file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def _as_parquet(lines: Path) -> Path:
    try:
        import duckdb  # noqa: PLC0415 - large, and for this alone
    except ImportError:
        raise ProgramMissing(
            "Parquet is written by DuckDB, which is not installed",
            hint="pip install 'obelisk-ops[parquet]', or write .jsonl",
        ) from None
    written = lines.with_name("rows.parquet")
    with duckdb.connect(":memory:") as connection:
        rows = connection.read_json(str(lines), format="newline_delimited")
        rows.write_parquet(str(written))
    return written
