"""Restored, begun, or refused: what is done about a database that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk_ops.errors import (
    Fenced,
    OpsError,
    ReplicaNotFound,
    StaleSidecar,
    TargetExists,
)
from obelisk_ops.replica.expectation import Traces
from obelisk_ops.supervise.boot import Begin, Missing, Restore, decide, missing_databases

OPENED = Traces(was_opened=True)
EXPECTED = Traces(is_expected=True)
NOTHING = Traces()
STRANGE = Traces(strangers=("0000",))
VIRGIN = Traces(is_bucket_empty=True)


@pytest.mark.parametrize(
    ("traces", "is_empty", "may_begin", "step"),
    [
        pytest.param(OPENED, False, False, Restore(), id="a backup"),
        pytest.param(OPENED, False, True, Restore(), id="a backup, and leave to begin"),
        pytest.param(OPENED, True, True, TargetExists, id="a backup, and an empty file"),
        pytest.param(NOTHING, False, False, ReplicaNotFound, id="nothing"),
        pytest.param(NOTHING, True, False, ReplicaNotFound, id="nothing, and an empty file"),
        pytest.param(NOTHING, False, True, Begin(is_news=True), id="nothing, leave to begin"),
        pytest.param(VIRGIN, False, False, Begin(is_news=True), id="nothing in the bucket"),
        pytest.param(EXPECTED, False, False, Begin(is_news=False), id="expected"),
        pytest.param(EXPECTED, True, True, Begin(is_news=False), id="expected, empty file"),
        pytest.param(STRANGE, False, True, Fenced, id="what nobody knows"),
        pytest.param(
            Traces(was_opened=True, is_expected=True), False, False, Restore(),
            id="expected and come",
        ),
    ],
)  # fmt: skip
def test_a_database_that_is_not_there(
    traces: Traces, step: Restore | Begin | type[OpsError], *, is_empty: bool, may_begin: bool
) -> None:
    missing = Missing(name="a", path=Path("/a.db"), is_empty=is_empty, place="s3://b/p/a")

    decided = decide(missing, traces, may_begin=may_begin)

    if isinstance(decided, OpsError):
        assert type(decided) is step
        assert decided.hint
    else:
        assert decided == step


def test_only_what_has_content_counts_as_there(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.db" for name in ("full", "empty", "none")}
    paths["full"].write_bytes(b"x")
    paths["empty"].touch()

    found = missing_databases(paths, "s3://b/p")

    assert [(m.name, m.is_empty, m.place) for m in found] == [
        ("empty", True, "s3://b/p/empty"),
        ("none", False, "s3://b/p/none"),
    ]


@pytest.mark.parametrize(
    ("made", "error"),
    [("a.db/inside", TargetExists), ("a.db-wal", StaleSidecar)],
    ids=["a folder in its place", "an old log beside it"],
)
def test_a_place_that_is_not_free(made: str, error: type[OpsError], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / made).parent.mkdir(parents=True)
    (folder / made).touch()

    with pytest.raises(error):
        missing_databases({"a": folder / "a.db"}, "s3://b/p")
