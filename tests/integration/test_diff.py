"""`execution diff` on the command line: what it prints, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk_ops.durable.unattended import plant
from tests.commands import Commands, Ran
from tests.runs import Step, history, returns

ENDS: Step = (99, "finished", {"ok": 1})
EVIL = "\x1b[31m\u202e"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("db") / "runs.db"
    one = [*returns(1, 0, 10, {"loss": 0.5, "by": [1, 2]}), ENDS]
    other = [*returns(1, 0, 1500, {"loss": 0.7, "by": [1]}), ENDS]
    evil = [*returns(1, 0, 10, {EVIL: EVIL}), ENDS]
    plant(path, [history(one, name="one")])
    for name, steps in (("again", one), ("other", other), ("evil", evil)):
        plant(path.with_name(f"{name}.db"), [history(steps, name=name)])
    return path


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "none.yml")


def diff(commands: Commands, database: Path, other: str, *more: str) -> Ran:
    second = database.with_name(f"{other}.db")
    return commands.run(
        "execution", "diff", "one", other, "--db", database, "--db2", second, *more
    )


def test_people_are_told_where_they_part(commands: Commands, database: Path) -> None:
    done = diff(commands, database, "other")

    assert done.status == 0, done.err
    text = done.out
    assert "first difference: call 1, another answer" in text
    assert '  right  version 2: activity shop.load: ok {"loss":0.7,"by":[1]}' in text
    assert "    $.loss: 0.5 → 0.7\n    $.by[1]: 2 → —\n" in text
    assert "ok, 1.5s" in text


def test_scripts_are_told_by_fields(commands: Commands, database: Path) -> None:
    told = diff(commands, database, "other", "--json").told

    assert (told["relation"], told["shared_events"]) == ("diverged", 1)
    assert told["first"]["left"]["value"] == {"loss": 0.5, "by": [1, 2]}
    assert told["first"]["changes"][0] == {"path": "$.loss", "left": "0.5", "right": "0.7"}
    [call] = told["calls"]
    assert (call["right"]["duration_ms"], call["differs"]) == (1500, ["value"])


@pytest.mark.parametrize(
    ("other", "more", "status"),
    [("again", ("--exit-code",), 0), ("other", ("--exit-code",), 1), ("other", (), 0)],
)
def test_the_exit_status_is_asked_for(
    commands: Commands, database: Path, other: str, more: tuple[str, ...], status: int
) -> None:
    assert diff(commands, database, other, *more).status == status


def test_what_a_log_holds_does_not_reach_the_terminal(
    commands: Commands, database: Path
) -> None:
    done = diff(commands, database, "evil")

    assert done.status == 0, done.err
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


@pytest.mark.parametrize("argv", [("one",), ("one", "one"), ("one", "--db2", "runs.db")])
def test_an_execution_is_not_compared_with_itself(
    commands: Commands, database: Path, argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(database.parent)

    done = commands.run("execution", "diff", *argv, "--db", "runs.db")

    assert done.status == 2
    assert "--db2" in done.err
