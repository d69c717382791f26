"""What there is to find out from a backup alone, and how changed code is tried on it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops import run
from obelisk_ops.durable.flow.loader import load_workflow
from obelisk_ops.errors import ExecutionFailed
from tests.commands import Commands, commands_for
from tests.conftest import S3
from tests.integration import operated
from tests.replicas import ReplicatedDatabase

CODE = Path(operated.__file__)
#: as somebody would save it who has found the mistake
MENDED = (
    CODE.read_text()
    .replace('raise ValueError(f"not {doubled}")', "return doubled + 1")
    .replace(
        "@activity\nasync def double", '@activity(name="operated.double")\nasync def double'
    )
)
BEFORE, AFTER = "run@e0001/txid:1", "run"


@pytest.fixture(scope="module")
def backup(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedDatabase]:
    """One run that failed; and before it, one that went well, at a moment of its own."""
    folder = tmp_path_factory.mktemp("backup")
    run(load_workflow(f"{CODE}:adds"), 3, db=folder / "run.db", id="good")
    database = ReplicatedDatabase(folder, s3.replica())
    database.ship()
    with pytest.raises(ExecutionFailed):
        run(load_workflow(f"{CODE}:fails"), 3, db=folder / "run.db", id="bad")
    database.ship()
    yield database
    database.close()


@pytest.fixture
def ops(backup: ReplicatedDatabase, tmp_path: Path) -> Commands:
    return commands_for(backup.place, tmp_path)


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    code = tmp_path / "mended.py"
    code.write_text(MENDED)
    return code


def test_changed_code_goes_on_in_a_file_of_its_own(
    ops: Commands, mended: Path, tmp_path: Path
) -> None:
    fixed = tmp_path / "fixed.db"
    forked = ops.run(
        "execution", "fork", "bad", "--from-version", "3", "--db", AFTER, "--to", fixed
    )
    assert forked.status == 0, forked.err
    assert forked.out == "bad.fork-3\n"

    told = ops.run(
        "execution", "replay", "bad.fork-3", f"{mended}:fails", "--db", fixed, "--json"
    ).told
    assert (told["version"], told["finished"]) == (2, True)


def test_the_debugger_stops_where_the_code_was(
    ops: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("p 'n is', n\nq\n"))

    done = ops.run(
        "execution", "replay", "bad", f"{CODE}:fails", "--until", "1", "--pdb", "--db", AFTER
    )

    assert done.status == 0, done.err
    assert "-> doubled = await double(n)" in done.out
    assert "('n is', 3)" in done.out


def test_a_page_says_of_which_state_it_is(ops: Commands, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"

    told = ops.run("execution", "report", "bad", "--db", AFTER, "-o", page, "--json").told

    point = told["restore_point"]
    assert (point["name"], point["epoch"]) == ("run", 1)
    assert f"e0001/txid:{point['txid']}" in page.read_text()


def test_a_page_of_a_restored_copy_says_where_it_comes_from(
    ops: Commands, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    assert ops.run("restore", "run", "--to", copy).status == 0

    told = ops.run("execution", "report", "bad", "--db", copy, "--json").told

    point = told["restore_point"]
    assert (point["name"], point["epoch"], point["is_copy"]) == ("run", 1, True)


def test_a_moment_before_is_another_state(ops: Commands) -> None:
    told = ops.run("execution", "diff", "good", "--db", BEFORE, "--db2", AFTER, "--json").told

    assert told["relation"] == "equal"
    assert ops.run("execution", "report", "bad", "--db", BEFORE, "-o", "-").status == 7
