"""``execution replay``: to the end, to a version, step by step, in a debugger."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine
from obelisk_ops.cli import main
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.loader import load_workflow
from tests.engines import until
from tests.integration.test_operating import CODE, Commands

WAITS = """
from obelisk_ops import Signal, workflow

@workflow(name="waits")
async def waits() -> None:
    await Signal("{}", bool).receive()
"""
CHANGED = (
    CODE.read_text()
    .replace("await double(first)", "await double(first + 1)")
    .replace(
        "@activity\nasync def double", '@activity(name="operated.double")\nasync def double'
    )
)


@pytest.fixture
def ops(tmp_path: Path) -> Commands:
    commands = Commands(tmp_path / "runs.db")
    for name, function in (("a", "adds"), ("f", "fails")):
        with pytest.raises(SystemExit):
            main(["run", f"{CODE}:{function}", "3", "--db", str(commands.db), "--id", name])
    return commands


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("code") / "changed.py"
    file.write_text(CHANGED)
    return f"{file}:adds"


async def serve_until_at_rest(db: Path, function: Workflow[..., Any]) -> None:
    async with Engine(db, workflows=[function]) as engine:
        if engine.find("w") is None:
            await engine.submit(function, id="w")
        await until(lambda: engine.row("w").state in ("blocked", "parked"), "it rests")


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_code_that_fits_is_told_so_and_nothing_is_written(
    ops: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "n", "l", "q")
    before = {path: path.read_bytes() for path in ops.db.parent.rglob("*") if path.is_file()}

    told = ops("replay", "a", CODE)
    for more in ((), ("--until", "2"), ("--step",)):
        assert ops.run("replay", "a", CODE, *more, json=False).status == 0

    assert told == {
        "execution_id": "a", "function": "operated.adds", "version": 5, "finished": True,
        "cut_short": None, "asks_for": [], "waits_for": [], "stack": [],
    }  # fmt: skip
    after = {path: path.read_bytes() for path in ops.db.parent.rglob("*") if path.is_file()}
    assert after == before


def test_up_to_a_version_it_says_where_the_code_is(ops: Commands) -> None:
    told = ops("replay", "a", CODE, "--until", "2")

    assert (told["version"], told["finished"], told["waits_for"]) == (
        2, False, ["call 2, operated.double"],
    )  # fmt: skip
    assert told["asks_for"] == ["call 2, activity operated.double(6)"]
    [place] = told["stack"]
    line = CODE.read_text().splitlines()[place["line"] - 1]
    assert (place["function"], line.strip()) == ("adds", "second = await double(first)")


def test_code_that_does_not_fit_is_told_where(ops: Commands, changed: str) -> None:
    refused = ops.run("replay", "a", changed)

    assert (refused.status, refused.error["code"]) == (14, "nondeterminism")
    assert "at version 3" in refused.error["message"]
    assert "double(6)" in refused.error["message"]
    assert "double(7)" in refused.error["message"]


def test_code_of_another_workflow_is_told_to_be_that(ops: Commands) -> None:
    refused = ops.run("replay", "a", f"{CODE}:fails")

    assert (refused.status, refused.error["code"]) == (2, "invalid_input")
    assert refused.error["message"] == "a is a operated.adds, not a operated.fails"


def test_the_name_in_the_log_leads_to_the_code(
    ops: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CODE.parent)

    assert ops("replay", "a")["finished"] is True


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (("nobody", str(CODE)), 7),
        (("a", str(CODE), "--until", "6"), 2),
        (("a", "nowhere.py"), 2),
        (("a", f"{CODE}:nothing"), 2),
    ],
)
def test_what_cannot_be_replayed(ops: Commands, argv: tuple[str, ...], status: int) -> None:
    assert ops.run("replay", *argv).status == status


def test_the_steps_go_forth_and_back(ops: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "n", "n", "l", "w", "p", "5", "9", "what", "q")

    out = ops.run("replay", "a", CODE, "--step", json=False).out

    lines = out.splitlines()
    shown = [line.split()[0] for line in lines if line[:1].isdigit()]
    assert shown == ["0", "1", "2", "1", "5"]
    assert "  first = 6" in lines
    assert any("operated.py" in line and line.endswith("in adds") for line in lines)
    assert out.count("there is nothing there") == 2
    assert "  it has come to its end" in lines


def test_the_steps_stop_where_the_code_does_not_fit(
    ops: Commands, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "3", "l")

    done = ops.run("replay", "a", changed, "--step", json=False)

    assert done.status == 14
    assert "but the code asks for call 2, activity" in done.out
    assert "  first = 6" in done.out


@pytest.mark.parametrize(
    ("argv", "status", "line"),
    [
        (("a", "--until", "2"), 0, "second = await double(first)"),
        (("f",), 0, 'raise ValueError(f"not {doubled}")'),
    ],
)
def test_a_debugger_opens_in_the_workflow(
    ops: Commands,
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
    status: int,
    line: str,
) -> None:
    typed(monkeypatch, "p 'n is', n", "q")

    done = ops.run("replay", argv[0], CODE, *argv[1:], "--pdb", json=False)

    assert done.status == status
    assert f"-> {line}" in done.out
    assert "('n is', 3)" in done.out


def test_a_debugger_opens_at_the_mismatch(
    ops: Commands, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "p 'first is', first", "q")

    done = ops.run("replay", "a", changed, "--pdb", json=False)

    assert done.status == 14
    assert "second = await double(first + 1)" in done.out
    assert "('first is', 6)" in done.out


def test_what_ended_without_its_code_is_told_so(ops: Commands, changed: str) -> None:
    ops.submit("adds", 3, name="early", more=("--paused",))
    ops("cancel", "early")

    told = ops("replay", "early", CODE)

    assert (told["version"], told["finished"], told["asks_for"]) == (0, False, [])
    assert told["cut_short"] == "it was cancelled before its code began"
    said = ops.run("replay", "early", changed, json=False)
    assert (said.status, said.out) == (
        0, "  it was cancelled before its code began: the end in its log is not its code's\n"
    )  # fmt: skip


def test_what_was_cancelled_while_it_was_parked_is_compared_up_to_there(
    ops: Commands, tmp_path: Path
) -> None:
    old, new = tmp_path / "old_code.py", tmp_path / "new_code.py"
    for file, text in ((old, "yes"), (new, "no")):
        file.write_text(WAITS.format(text))
        asyncio.run(serve_until_at_rest(ops.db, load_workflow(f"{file}:waits")))
    assert ops.state("w") == "parked"
    ops("cancel", "w")
    assert ops("show", "w")["result"] == "cancelled"

    told = ops("replay", "w", old)

    parked = ops.kinds("w").index("parked")
    assert (told["version"], told["finished"]) == (parked, False)
    assert told["cut_short"] == "it was cancelled while it was parked"
    assert ops.run("replay", "w", new).status == 14
