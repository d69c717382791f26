"""Every command on what is not there, not a database, or damaged: one error, its status."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from obelisk_ops import run
from tests.commands import Commands
from tests.integration import operated

CODE = Path(operated.__file__)
READS = {
    "list": "execution list",
    "show": "execution show done",
    "events": "execution events done",
    "result": "execution result done",
    "why": "execution why done",
    "output": "execution output done",
    "replay": f"execution replay done {CODE}",
    "fork --to": "execution fork done --from-version 2 --to {tmp}/to.db",
    "export": "execution export done -o {tmp}/x.json",
    "schedule list": "schedule list",
    "schedule show": "schedule show s",
    "schedule next": "schedule next s",
}
ASKS = {
    "submit": f"execution submit {CODE}:adds 1 --id new",
    "cancel": "execution cancel done",
    "pause": "execution pause done",
    "unpause": "execution unpause done",
    "signal": "execution signal done approve true",
    "stub": "execution stub done/1 1",
    "fork": "execution fork done --from-version 2 --id new",
    "prune": "execution prune --older-than 0s",
    "prune --apply": "execution prune --older-than 0s --apply",
    "schedule add": f"schedule add {CODE}:adds 1 --every 1h --id q",
    "schedule pause": "schedule pause s",
    "schedule unpause": "schedule unpause s",
    "schedule delete": "schedule delete s",
    "schedule trigger": "schedule trigger s",
}
ALL = READS | ASKS
OF_ONE = [
    name for name, text in ALL.items()
    if " done" in text or (name.startswith("schedule") and text.endswith(" s"))
]  # fmt: skip


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "none.yml")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with one execution, as bytes."""
    path = tmp_path_factory.mktemp("whole") / "whole.db"
    run(operated.adds, 3, db=path, id="done")
    return path.read_bytes()


def prints(folder: Path) -> dict[str, bytes | None]:
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


def make(path: Path, how: str, whole: bytes) -> None:
    noise = b"\xa5" * len(whole)
    if how == "folder":
        path.mkdir()
    elif how == "other":
        with closing(apsw.Connection(os.fspath(path))) as connection:
            connection.execute("CREATE TABLE t (a)")
    elif how != "nothing":
        damages = {"noise": noise, "damaged": whole[:1024] + noise[1024:], "cut": whole[:6000]}
        path.write_bytes(damages[how])


REFUSED = {
    "nothing": (7, "database_not_found"),
    "folder": (7, "database_not_found"),  # who asks is told that it cannot be opened
    "noise": (10, "corrupt_database"),
    "damaged": (10, "corrupt_database"),
    "cut": (10, "corrupt_database"),
    "other": (2, "foreign_database"),
}


FOUNDING = {"submit", "schedule add"}  # they make a database where there is nothing
NO_DATABASE = [
    (command, how)
    for command in ALL
    for how in REFUSED
    if not (how == "nothing" and command in FOUNDING)
]


@pytest.mark.parametrize(("command", "how"), NO_DATABASE)
def test_what_is_no_database_is_refused_and_left_alone(
    commands: Commands, tmp_path: Path, whole: bytes, command: str, how: str
) -> None:
    db = tmp_path / "a.db"
    make(db, how, whole)
    before = prints(tmp_path)

    ran = commands.run(*ALL[command].format(tmp=tmp_path).split(), "--db", db, "--json")

    asks_a_folder = how == "folder" and command in ASKS
    expected = (6, "storage_unavailable") if asks_a_folder else REFUSED[how]
    assert (ran.status, ran.error["code"], ran.out) == (*expected, "")
    assert set(ran.error) == {"code", "message", "hint"}
    assert "Traceback" not in ran.err
    assert prints(tmp_path) == before


@pytest.mark.parametrize("command", OF_ONE)
def test_who_does_not_exist_is_not_found(
    commands: Commands, tmp_path: Path, whole: bytes, command: str
) -> None:
    db = tmp_path / "a.db"
    db.write_bytes(whole)
    words = ALL[command].replace(" done", " nobody").format(tmp=tmp_path).split()

    ran = commands.run(*words, "--db", db, "--json")

    expected = "schedule" if command.startswith("schedule") else "execution"
    assert (ran.status, ran.error["code"], ran.out) == (7, f"{expected}_not_found", "")
    assert ran.error["hint"]


DAMAGE = {
    "an event": "UPDATE log SET body = '{' WHERE version = 1",
    "a shape": "UPDATE log SET body = '[1]' WHERE version = 1",
    "a call": """UPDATE log SET body = '{"n":9,"ok":1}' WHERE version = 2""",
    "a state": "UPDATE state SET state = 'tired'",
}
TELLS = {
    "an event": ("show", "events", "why", "output", "fork --to", "export"),
    "a shape": ("show", "events", "why", "output", "fork --to", "export"),
    "a state": ("list", "show", "events", "result", "why", "output", "replay", "export"),
    "a call": ("show", "why", "output", "export"),
}


@pytest.mark.parametrize(
    ("damage", "command"), [(how, name) for how, names in TELLS.items() for name in names]
)
def test_damage_within_is_named(
    commands: Commands, tmp_path: Path, whole: bytes, damage: str, command: str
) -> None:
    db = tmp_path / "a.db"
    db.write_bytes(whole)
    with closing(apsw.Connection(os.fspath(db))) as connection:
        connection.execute(DAMAGE[damage])

    ran = commands.run(*ALL[command].format(tmp=tmp_path).split(), "--db", db, "--json")

    assert (ran.status, ran.out) == (10, "")
    assert ran.error["code"] in {"corrupt_database", "verification_failed"}


def test_an_import_names_what_is_wrong(
    commands: Commands, tmp_path: Path, whole: bytes
) -> None:
    db, file = tmp_path / "a.db", tmp_path / "h.json"
    db.write_bytes(whole)

    def import_from(source: Path, into: Path = db) -> tuple[int, str]:
        ran = commands.run("execution", "import", source, "--db", into, "--json")
        return ran.status, ran.error["code"]

    told = commands.run("execution", "export", "done", "-o", file, "--db", db, "--json").told
    assert told == {"path": str(file), "executions": ["done"], "events": 6}
    again = commands.run("execution", "export", "done", "-o", file, "--db", db, "--json")
    assert (again.status, again.error["code"]) == (8, "target_exists")

    assert import_from(file) == (8, "execution_exists")
    assert import_from(tmp_path / "no.json") == (7, "not_found")
    assert import_from(tmp_path) == (2, "invalid_input")
    assert import_from(db) == (2, "invalid_input")
    assert import_from(file, tmp_path) == (6, "storage_unavailable")
    assert import_from(file, tmp_path / "no" / "a.db") == (6, "storage_unavailable")
