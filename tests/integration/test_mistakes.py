"""What people get wrong on the first day: each is told what to do instead."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from obelisk_ops.cli.output import print_json, print_table
from obelisk_ops.objectstore import open_store
from obelisk_ops.settings import ReplicaSettings
from tests.commands import Commands, commands_for, run_here

FLOWS = Path(__file__).parents[1] / "fault" / "flows.py"


@pytest.mark.parametrize(
    ("command", "code", "hint"),
    [
        ("inspect {tmp}/nope.db", "database_not_found", "name an existing file"),
        ("execution list --db /nope/x.db", "database_not_found", "name an existing file"),
        ("execution submit nope.py:sweep --db x.db", "function_not_found", "FILE.py:FUNCTION"),
        (f"execution submit {FLOWS}:steps --db x.db", "invalid_input", "one value for each"),
        (f'execution submit {FLOWS}:steps "1" 1 --db {{tmp}}', "storage_unavailable", "a file"),
    ],
)
def test_a_hint_says_what_to_do(command: str, code: str, hint: str, tmp_path: Path) -> None:
    words = command.format(tmp=tmp_path).split()

    ran = Commands(tmp_path / "none.yml").run(*words, "--json")

    assert ran.error["code"] == code
    assert hint in ran.error["hint"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("- a", "known here: replica, databases"),
        ("a:\n\tb: 1", "spaces"),
        ("a: [", "brackets"),
        ("replica: {region: x}", "s3://"),
        ("lease: {ttl: 5 min}", "like 500ms"),
        ("databases: [{name: a}]", "'path: VALUE'"),
        ("databases: [{path: runs}]", "runs/*.db"),
        (None, "-c FILE"),
    ],
)
def test_what_is_wrong_in_a_configuration_can_be_put_right(
    text: str | None, hint: str, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    config = tmp_path / "obelisk-ops.yml"
    if text is not None:
        config.write_text(text)

    ran = Commands(config if text else tmp_path).run("status", "--json")

    assert (ran.status, ran.error["code"]) == (3, "config")
    assert hint in ran.error["hint"]


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("status -c x.yml", "No such option '-c'", "before the command: -c FILE status"),
        ("status --debug", "No such option '--debug'", "before the command: --debug status"),
        ("policy", "Choose from: writer, reader, pruner", "policy --help"),
        ("run {flows}:step --db {db}", "'step': it is an activity", "it has: "),
        ("run {flows}:activity --db {db}", "not decorated with @workflow", "it has: "),
        ("worker {flows} --queue gpu=x --db {db}", "'gpu=x' is no queue", "NAME=10/1m"),
        ("inspect {empty}", "no SQLite database: it is empty", "restore it"),
        ("inspect {flows}", "it begins with other bytes", "restore it"),
        ("execution import {empty}.json --db {db}", "there is no file", "execution export"),
        (
            "run {flows}:steps '\"a\"' 0 --id '' --db {db}",
            "cannot be an execution id",
            "use 1 to",
        ),
        (
            "schedule add {flows}:steps '\"a\"' 0 --every 0s --db {db}",
            "--every 0s is too short",
            "loop",
        ),
        (
            "schedule add {flows}:steps '\"a\"' 0 --db {db}",
            "either --cron or --every",
            "--every 15m",
        ),
        ("restore run@txid:2 --to {db}", "in --at", "restore run --at txid:2 --to PATH"),
        ("restore run --to ''", "names no file", "--to PATH"),
    ],
)
def test_one_line_says_what_and_one_what_to_do(
    typed: str, said: str, hint: str, tmp_path: Path
) -> None:
    db, empty = tmp_path / "x.db", tmp_path / "empty.db"
    empty.touch()
    words = shlex.split(typed.format(db=db, flows=FLOWS, empty=empty))

    ran = Commands(tmp_path / "none.yml").run(*words)

    assert not list(tmp_path.glob("*x.db*"))
    first, second = ran.err.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert hint in second


@pytest.mark.parametrize(
    "typed",
    [
        "inspect {db} --list --id x",
        "inspect {db} --state ok",
        "inspect {db} --limit 3",
        "inspect {db} --restore",
        "execution replay a --db {db} --step --json",
        "execution replay a --db {db} --step --pdb",
        "execution replay a --db {db} --pdb --json",
        "execution report a --db {db} -o - --force",
        "execution report a --db {db} --json --force",
        "exec --restore a --no-restore -- true",
        "exec --no-restore --first-boot -- true",
        "check --nagios --json",
        "check --only clock --skip clock",
        "schedule add {flows}:steps --every 1h --cron @daily --db {db}",
        "schedule add {flows}:steps --every 1h --timezone Europe/Berlin --db {db}",
        "search --sql SELECT --state finished",
        "search -o {db}.jsonl --json",
        "execution result a --db backup --wait",
        "rollback a --at latest --undo x",
        "execution stub a/1 1 --error no --db {db}",
    ],
)
def test_an_option_that_would_be_ignored_is_refused(typed: str, tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    words = typed.format(db=db, flows=FLOWS).split()

    ran = Commands(tmp_path / "none.yml").run(*words)

    assert (ran.status, ran.out) == (2, ""), ran.err
    assert ran.err.startswith(("error: ", '{"error":')), ran.err
    assert not db.exists()


@pytest.mark.parametrize(
    ("typed", "near", "next_step"),
    [
        ("execution show nigtly --db {db}", "nightly", "execution list --db {db}"),
        ("execution cancel nigtly --db {db}", "nightly", "execution list --db {db}"),
        ("execution replay nightly {flows}:step --db {db}", "steps", ""),
        ("run {flows}:stepss --db {db}", "steps", "it has: "),
        ("check --only clok", "clock", "there are: "),
        ("schedule show nigtly --db {db}", "nightly", "schedule list --db {db}"),
    ],
)
def test_the_nearest_name_is_told(
    typed: str, near: str, next_step: str, tmp_path: Path
) -> None:
    config, db = tmp_path / "none.yml", tmp_path / "my runs.db"
    commands = Commands(config)
    given = (f"{FLOWS}:steps", '"side"', "0", "--db", db, "--id", "nightly")
    assert commands.run("execution", "submit", *given, "--paused").status == 0
    assert commands.run("schedule", "add", *given, "--cron", "@daily", "--paused").status == 0
    words = [word.format(db=db, flows=FLOWS) for word in typed.split()]

    ran = commands.run(*words, "--json")

    assert ran.status in {2, 7}
    assert f"did you mean '{near}'?" in ran.error["hint"]
    if next_step.startswith(("execution", "schedule")):
        next_step = f"obelisk-ops -c {config} {next_step.format(db=shlex.quote(str(db)))}"
    assert next_step in ran.error["hint"]


def test_a_backup_of_nearly_this_name(replica: ReplicaSettings, tmp_path: Path) -> None:
    open_store(replica).put(f"{replica.prefix}/exp-17/e0001/0000/x", b"")
    commands = commands_for(replica, tmp_path)

    ran = commands.run("restore", "exp-71", "--to", tmp_path / "x.db", "--json")

    assert ran.error["code"] == "replica_not_found"
    assert "did you mean 'exp-17'?" in ran.error["hint"]


def test_where_a_page_cannot_be_written_is_known_before_anything_is_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "page.html").touch()
    for file, status in (("page.html", 8), ("no/page.html", 6), (".", 8)):
        argv = ("execution", "report", "a", "--db", tmp_path / "none.db", "-o", tmp_path / file)

        ran = Commands(tmp_path / "none.yml").run(*argv)

        assert ran.status == status, "else there is no database"


def test_what_a_terminal_might_obey_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b[31m\x85\u202e\U000e0001é"
    print_json({"name": hostile})
    out = capsys.readouterr().out
    print_table(["name"], [[hostile]])

    assert json.loads(out) == {"name": hostile}
    assert out.removesuffix("\n").isprintable()
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("typed", ["restor", "execution lst"])
def test_a_word_that_is_nearly_a_command(typed: str, tmp_path: Path) -> None:
    ran = Commands(tmp_path).run(*typed.split())

    assert ran.status == 2
    assert ran.err.lower().count("did you mean") == 1


def test_a_table_on_a_pipe_has_nothing_at_the_end_of_its_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["name", "detail"], [["a", "a long text"], ["b", ""]])

    assert capsys.readouterr().out.splitlines() == ["NAME  DETAIL", "a     a long text", "b"]


WRITES = [
    "run {flows}:steps '\"a\"' 0",
    "worker {flows}",
    "execution submit {flows}:steps '\"a\"' 0",
    "execution import {tmp}/none.json",
    "schedule add {flows}:steps '\"a\"' 0 --every 1h",
]


@pytest.mark.parametrize("typed", WRITES)
def test_a_backup_is_not_written(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A file of its name would hide it from every command that reads."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "runs" / "billing.db"
    config = tmp_path / "obelisk-ops.yml"
    config.write_text(f"replica: {{url: s3://bucket/prefix}}\ndatabases: [{{path: {file}}}]\n")
    words = shlex.split(typed.format(flows=FLOWS, tmp=tmp_path))

    for name, hint in (("billing", str(file)), ("other@latest", "write ./other@latest")):
        ran = Commands(config).run(*words, "--db", name)

        assert (ran.status, ran.out) == (2, "")
        assert "is a backup, which can only be read" in ran.err
        assert hint in ran.err
    assert [path.name for path in tmp_path.iterdir()] == [config.name]


def test_a_bare_name_is_a_file_where_no_backup_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with@sign").touch()
    commands = Commands(tmp_path / "none.yml")

    for name in ("bare", "with@sign", "./an@other"):
        ran = commands.run("execution", "submit", f"{FLOWS}:steps", '"a"', "0", "--db", name)

        assert ran.status == 0, ran.err
        assert (tmp_path / name).exists()


@pytest.mark.parametrize("command", [(), ("execution",), ("replica",)])
def test_a_group_alone_is_helped(command: tuple[str, ...]) -> None:
    ran = run_here(*command)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: ")
    assert len(ran.err.splitlines()) > 8
    assert "error: " not in ran.err


def test_a_rollback_of_nothing_names_what_to_restore(tmp_path: Path) -> None:
    config = tmp_path / "obelisk-ops.yml"
    config.write_text(
        f"replica: {{url: s3://bucket/prefix}}\ndatabases: [{{path: {tmp_path}/a.db}}]\n"
    )

    ran = Commands(config).run("rollback", "a", "--at", "latest", "--json")

    assert (ran.status, ran.error["code"]) == (7, "database_not_found")
    assert f"restore a --to {tmp_path}/a.db" in ran.error["hint"]
