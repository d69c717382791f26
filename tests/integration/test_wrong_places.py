"""What is named and is not there, cannot be made, or is another program's: told alike."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from obelisk_ops import run
from obelisk_ops.objectstore import open_store
from obelisk_ops.settings import ReplicaSettings
from tests.commands import Commands, Ran, commands_for
from tests.integration import operated

CODE = Path(operated.__file__)
MAKES = [
    "restore any --to {file}.db",
    "restore any --to {file}.db --dry-run",
    "execution fork done --from-version 2 --db {db} --to {file}.db",
    "execution export done --db {db} -o {file}.json",
    "execution report done --db {db} -o {file}.html",
    "execution report done --db {db} -o {file}.html --force",
    "search -o {file}.jsonl",
    "run {code}:adds 1 --db {file}.db",
    "worker {code} --db {file}.db",
    "execution submit {code}:adds 1 --db {file}.db",
    "execution import {export} --db {file}.db",
    "schedule add {code}:adds 1 --every 1h --db {file}.db",
]


class Desk:
    """A database with one finished execution, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._commands = Commands(folder / "none.yml")
        self._named = {"db": folder / "a.db", "code": CODE, "export": folder / "done.json"}

    def run(self, text: str, *more: str, **named: object) -> Ran:
        words = shlex.split(text.format(**self._named | named))
        return self._commands.run(*words, *more)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    run(operated.adds, 3, db=folder / "a.db", id="done")
    return folder


@pytest.fixture
def desk(ran: Path) -> Desk:
    desk = Desk(ran)
    export = ran / "done.json"
    if not export.exists():
        assert desk.run("execution export done --db {db} -o {export}").status == 0
    return desk


@pytest.mark.parametrize("makes", MAKES)
def test_a_file_whose_folder_is_missing(desk: Desk, makes: str) -> None:
    missing = desk.folder / "not" / "there"

    ran = desk.run(makes, file=missing / "x")

    assert (ran.status, ran.out) == (6, "")
    error, hint = ran.err.splitlines()
    assert f"there is no folder {missing}" in error
    assert f"mkdir -p {missing}" in hint


def test_a_file_whose_folder_is_a_file(desk: Desk) -> None:
    for makes in MAKES[3:7]:
        ran = desk.run(makes, file=desk.folder / "a.db" / "x")

        assert ran.status == 6
        assert "is no folder" in ran.err


@pytest.mark.parametrize(
    "makes",
    [
        "restore any --to {folder}",
        "execution fork done --from-version 2 --db {db} --to {folder}",
        "execution export done --db {db} -o {folder}",
        "execution report done --db {db} -o {folder}",
        "execution report done --db {db} -o {folder} --force",
    ],
)
def test_a_folder_is_in_the_place_of_the_file(desk: Desk, makes: str) -> None:
    ran = desk.run(makes, "--json", folder=desk.folder)

    assert (ran.status, ran.error["code"]) == (8, "target_exists")


@pytest.mark.parametrize(
    "reads",
    ["execution list --db {other}", "execution show x --db {other}", "inspect {other} --list"],
)
def test_a_database_of_another_program(desk: Desk, tmp_path: Path, reads: str) -> None:
    other = tmp_path / "other.db"
    with closing(apsw.Connection(str(other))) as connection:
        connection.execute("CREATE TABLE t (a)")

    ran = desk.run(reads, "--json", other=other)

    assert (ran.status, ran.error["code"]) == (2, "foreign_database")
    assert f"{other} is an SQLite database of another program" in ran.error["message"]
    assert f"inspect {other}" in ran.error["hint"] or "--list" in reads


@pytest.mark.parametrize(
    "writes",
    [
        "run {code}:adds 1 --db {url}",
        "execution cancel done --db {url}",
        "execution fork done --from-version 2 --db {url}",
        "schedule pause x --db {url}",
    ],
)
def test_the_url_of_a_backup_is_not_written(desk: Desk, writes: str) -> None:
    ran = desk.run(writes, "--json", url="s3://bucket/prefix/any")

    assert (ran.status, ran.error["code"]) == (2, "usage")
    assert (
        "'s3://bucket/prefix/any' is a backup, which can only be read" in ran.error["message"]
    )
    assert "--db s3://bucket/prefix/any --to PATH" in ran.error["hint"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--call 1 --attempt 5", "call 1 has no attempt 5; there is but one"),
        ("--attempt 5", "'done' has no attempt 5; there is but one"),
        ("--call 7", "no activity call 7; there are: 1, 2"),
    ],
)
def test_output_of_what_there_was_not(desk: Desk, options: str, said: str) -> None:
    ran = desk.run(f"execution output done --db {{db}} {options}", "--json")

    assert (ran.status, ran.error["code"], ran.out) == (7, "not_found", "")
    assert said in ran.error["message"]


@pytest.mark.parametrize(
    "since", ["execution list --db {db} --since", "search --since", "replica points a --until"]
)
def test_who_asks_for_a_time_is_told_how_to_write_one(desk: Desk, since: str) -> None:
    for wrong in ("latest", "txid:3", "soon"):
        ran = desk.run(f"{since} {wrong}", "--json")

        assert (ran.status, ran.error["code"]) == (2, "invalid_when")
        assert "'10m ago'" in ran.error["hint"]
        assert "txid" not in ran.error["hint"]


@pytest.mark.parametrize("command", ["replica drill", "inspect {db}"])
def test_what_within_means(desk: Desk, command: str) -> None:
    for wrong, hint in (("10", "for seconds write 10s; --within is: How long"), ("0s", "10m")):
        ran = desk.run(f"{command} --within {wrong}", "--json")

        assert (ran.status, ran.error["code"]) == (2, "invalid_input")
        assert hint in ran.error["hint"]


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("execution stub done/99999999999999999999 1 --db {db}", "is no id of a call"),
        ("restore any --at 0001-01-01T00:00:00+14:00 --to new.db", "outside of all calendars"),
        ("restore any --at 9999-12-31T23:59:59-14:00 --to new.db", "outside of all calendars"),
        ("schedule add {code}:adds 1 --every 99999999d --db new.db", "longer than a century"),
        ("execution signal done '' 1 --db {db}", "a signal has a name"),
        ("worker {code} --db new.db --grace nan", "--grace nan"),
        ("worker {code} --db new.db --grace -1", "--grace -1"),
        ("worker {code} --db new.db --queue gpu=0", "--queue 'gpu=0'"),
        ("worker tests/commands.py --db new.db", "has no workflow"),
    ],
)
def test_what_is_beyond_all_measure(desk: Desk, odd: str, said: str) -> None:
    ran = desk.run(odd)

    assert (ran.status, ran.out) in {(2, ""), (7, "")}, ran.err
    assert said in ran.err
    assert " hint: " in ran.err


@pytest.mark.parametrize(
    "much",
    ["inspect {db} --memory 999999999TiB", "execution list --db {db} --limit 9" + 30 * "9"],
)
def test_very_much_is_all_of_it(desk: Desk, much: str) -> None:
    assert desk.run(much).status == 0


def test_a_version_is_a_number(desk: Desk) -> None:
    assert desk.run("inspect {db}", "--json").told["schema_version"] == 1


@pytest.mark.parametrize(
    "adds", ["execution submit nowhere.py:x", "schedule add nowhere.py:x --every 1h"]
)
def test_a_bad_id_is_refused_before_anything_is_loaded(desk: Desk, adds: str) -> None:
    ran = desk.run(f"{adds} --db {desk.folder / 'new.db'}", "--id", "", "--json")

    assert (ran.status, ran.error["code"]) == (2, "invalid_input")
    assert "use 1 to" in ran.error["hint"]


def test_what_is_in_the_place_of_a_backup(replica: ReplicaSettings, tmp_path: Path) -> None:
    store, top = open_store(replica), f"s3://{replica.bucket}"
    store.put(f"{replica.prefix}/exp/_obelisk/e0001.json", b"{}")
    store.put(f"{replica.prefix}/notes/readme.txt", b"x")
    commands = commands_for(replica, tmp_path)

    def said(url: str) -> str:
        ran = commands.run("inspect", url, "--json")
        assert (ran.status, ran.error["code"]) == (7, "replica_not_found")
        return f"{ran.error['message']} / {ran.error['hint']}"

    assert "there are backups below it: exp / name one of those" in said(
        f"{top}/{replica.prefix}"
    )
    assert f"is none, as {replica.prefix}/notes/readme.txt" in said(
        f"{top}/{replica.prefix}/notes"
    )
    near = said(f"{top}/{replica.prefix}/exq")
    assert f"nothing is at {replica.prefix}/exq/" in near
    assert "did you mean 'exp'?" in near
    assert "is it the right prefix? At the top of the bucket there are: " in said(
        f"{top}/no-such-prefix/exp"
    )


def test_a_policy_is_json_in_any_case(replica: ReplicaSettings, tmp_path: Path) -> None:
    commands = commands_for(replica, tmp_path)

    plain, compact = (
        commands.run("policy", "--role", "reader", *more) for more in ((), ("--json",))
    )

    assert plain.told == compact.told
    assert compact.out.count("\n") == 1
