# ruff: noqa: E501 - tables are read by their columns
"""How a database is read, by what lies beside it; and what a DB argument means."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk_ops.errors import UsageError
from obelisk_ops.inspect.opening import View, choose_view
from obelisk_ops.restore.databases import Backup, Database, LocalFile, parse_database

VIEWS = [
    # what                                   held   -wal   WAL format  view
    ("workflow database at rest",            False, False, True,       View.IMMUTABLE),
    ("left by a dead process",               False, True,  True,       View.PRIVATE),
    ("left with an odd header",              False, True,  False,      View.PRIVATE),
    ("in use",                               True,  True,  True,       View.SHARED),
    ("in use, nothing written yet",          True,  False, True,       View.SHARED),
    ("with a rollback journal",              False, False, False,      View.SHARED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("held", "log", "wal_format", "view"), [c[1:] for c in VIEWS], ids=[c[0] for c in VIEWS]
)
def test_view(*, held: bool, log: bool, wal_format: bool, view: View) -> None:
    assert choose_view(is_held=held, has_log=log, is_wal_format=wal_format) is view


DATABASES = [
    # argument                              meaning
    ("runs/exp-17.db",                      LocalFile(Path("runs/exp-17.db"))),
    ("exp-17.db",                           LocalFile(Path("exp-17.db"))),
    ("./odd@name",                          LocalFile(Path("./odd@name"))),
    ("present",                             LocalFile(Path("present"))),
    ("exp-17",                              Backup(name="exp-17")),
    ("exp-17@10m ago",                      Backup(name="exp-17", when="10m ago")),
    ("exp-17@txid:7",                       Backup(name="exp-17", when="txid:7")),
    ("exp-17@e0002/txid:7",                 Backup(name="exp-17", when="e0002/txid:7")),
    ("a@b@latest",                          Backup(name="a@b", when="latest")),
    ("s3://bucket/p/q/run",                 Backup(name="run", bucket="bucket", prefix="p/q")),
    ("s3://bucket/run@e0002/txid:7",        Backup(name="run", when="e0002/txid:7", bucket="bucket")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meaning"), DATABASES, ids=[case[0] for case in DATABASES])
def test_database(text: str, meaning: Database) -> None:
    assert parse_database(text, exists=lambda name: name == "present") == meaning


@pytest.mark.parametrize("text", ["s3://bucket", "s3:///run", "postgresql://host/db"])
def test_no_database(text: str) -> None:
    with pytest.raises(UsageError):
        parse_database(text, exists=lambda _: False)
