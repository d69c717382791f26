"""`execution report`: one page, from a file or a backup, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from obelisk_ops.durable.unattended import plant
from tests.commands import Commands, Ran
from tests.runs import ERROR, Step, history, returns

FAILS: list[Step] = [
    *returns(1, 5, 90, {"rows": 7}),
    (95, "child_created", {"n": 2, "id": "fails/2", "fn": "shop.part", "in": []}),
    (100, "intended", {"n": 3, "fn": "shop.train", "in": [0.1], "try": 1}),
    (400, "attempt_started", {"n": 3, "try": 2}),
    (500, "returned", {"n": 3, "error": ERROR}),
    (510, "finished", {"error": ERROR}),
]
PART = history(returns(1, 0, 60, 2), name="fails/2", parent="fails")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("db") / "runs.db"
    plant(path, [history(FAILS, name="fails"), PART])
    return path


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "none.yml")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "fails.html"


def state_of(database: Path) -> tuple[bytes, int, set[str]]:
    names = {entry.name for entry in database.parent.iterdir()}
    return database.read_bytes(), database.stat().st_mtime_ns, names


def report(commands: Commands, database: Path | str, *more: str | Path) -> Ran:
    return commands.run("execution", "report", "fails", "--db", database, *more)


def test_a_page_is_written_and_the_database_is_not(
    commands: Commands, database: Path, page: Path
) -> None:
    before = state_of(database)

    done = report(commands, database, "-o", page)

    assert done.status == 0, done.err
    assert str(page) in done.err
    assert state_of(database) == before
    text = page.read_text()
    for told in ("fails", "shop.train", "ConnectionError", "the store is away", "1 lost"):
        assert told in text
    assert page.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in page.parent.iterdir()] == [page.name]


def test_a_file_that_exists_stays_unless_it_may_go(
    commands: Commands, database: Path, page: Path
) -> None:
    page.write_text("mine")

    refused = report(commands, database, "-o", page)
    assert (refused.status, page.read_text()) == (8, "mine")
    assert "--force" in refused.err

    assert report(commands, database, "-o", page, "--force").status == 0
    assert page.read_text().startswith("<!doctype html>")


def test_stdout_holds_the_page_and_nothing_else(commands: Commands, database: Path) -> None:
    done = report(commands, database, "-o", "-")

    assert done.out.startswith("<!doctype html>")
    assert done.out.endswith("</html>\n")
    assert done.err == ""


@pytest.mark.parametrize("more", [(), ("-o", "-", "--json")])
def test_where_it_goes_must_be_said(
    commands: Commands, database: Path, more: tuple[str, ...]
) -> None:
    assert report(commands, database, *more).status == 2


def test_a_folder_that_there_is_not(commands: Commands, database: Path, page: Path) -> None:
    done = report(commands, database, "-o", page.parent / "no" / "such.html")

    assert done.status == 6
    assert "is no folder" in done.err


def test_children_are_told_when_they_are_asked_for(
    commands: Commands, database: Path, page: Path
) -> None:
    alone = report(commands, database, "--json").told
    assert len(alone["sheets"]) == 1
    assert alone["sheets"][0]["calls"][1]["child_id"] == "fails/2"

    family = report(commands, database, "--with-children", "--json", "-o", page).told
    assert [sheet["execution_id"] for sheet in family["sheets"]] == ["fails", "fails/2"]
    assert '<a href="#s1">fails/2</a>' in page.read_text()


def test_what_is_unfinished_says_what_it_waits_for(
    commands: Commands, database: Path, page: Path
) -> None:
    told = commands.run(
        "execution", "report", "fails/2", "--db", database, "--json", "-o", page
    ).told

    [sheet] = told["sheets"]
    assert [wait["kind"] for wait in sheet["waits"]] == ["unowned", "code"]
    assert "obelisk-ops worker TARGET --db" in page.read_text()


def test_what_nobody_has_begun_is_told_too(
    commands: Commands, tmp_path: Path, page: Path
) -> None:
    code = tmp_path / "unbegun.py"
    code.write_text("from obelisk_ops import workflow\n@workflow\nasync def w(): ...\n")
    runs = tmp_path / "new.db"
    submitted = commands.run("execution", "submit", f"{code}:w", "--db", runs, "--id", "fails")
    assert submitted.status == 0, submitted.err

    assert report(commands, runs, "-o", page).status == 0
    assert "pending" in page.read_text()


def test_an_execution_that_there_is_not(commands: Commands, database: Path) -> None:
    done = commands.run("execution", "report", "no", "--db", database, "-o", "-")

    assert done.status == 7


# -- what nobody has written -------------------------------------------------------------


@pytest.mark.fault(34)
@pytest.mark.parametrize("command", [("report", "-o", "-"), ("diff", "--db2", "sound")])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("body = '[]'", 10),
        ("""body = '{"n":"one"}'""", 10),
        ("""body = '{"n":77,"ok":1}'""", 10),
        ("body = 'null'", 10),
        ("body = '{' || hex(zeroblob(9))", 10),
        ("""body = '{"n":1,"fn":"f","in":' || replace(hex(zeroblob(9999)), '0', '[')""", 10),
        ("at = 1 << 60", 0),
        ("at = -(1 << 60)", 0),
        ("kind = 'enchanted'", 10),
    ],
)
def test_a_damaged_log_is_named_and_breaks_nothing(
    commands: Commands, database: Path, tmp_path: Path, change: str, status: int,
    command: tuple[str, ...],
) -> None:  # fmt: skip
    damaged = tmp_path / "damaged.db"
    shutil.copy(database, damaged)
    connection = apsw.Connection(str(damaged))
    connection.execute(f"UPDATE log SET {change} WHERE version = 1")  # noqa: S608 - ours
    connection.close()

    word, *more = [str(database) if one == "sound" else one for one in command]
    done = commands.run("execution", word, "fails", "--db", damaged, *more)

    assert done.status == status, done.err
    assert "this is a bug" not in done.err
