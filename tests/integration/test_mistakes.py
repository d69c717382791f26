"""What people get wrong on the first day: each is told what to do instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk_ops.cli.output import print_table
from tests.commands import Commands

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
def test_a_hint_says_what_to_do(
    command: str, code: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.format(tmp=tmp_path).split()

    ran = Commands(tmp_path / "none.yml", capsys).run(*words, "--json")

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
    text: str | None, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    config = tmp_path / "obelisk-ops.yml"
    if text is not None:
        config.write_text(text)

    ran = Commands(config if text else tmp_path, capsys).run("status", "--json")

    assert (ran.status, ran.error["code"]) == (3, "config")
    assert hint in ran.error["hint"]


@pytest.mark.parametrize("typed", ["restor", "execution lst"])
def test_a_word_that_is_nearly_a_command(
    typed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Commands(tmp_path, capsys).run(*typed.split())

    assert ran.status == 2
    assert ran.err.lower().count("did you mean") == 1


def test_a_table_on_a_pipe_has_nothing_at_the_end_of_its_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["name", "detail"], [["a", "a long text"], ["b", ""]])

    assert capsys.readouterr().out.splitlines() == ["NAME  DETAIL", "a     a long text", "b"]
