"""What `execution output|show|why` tell beyond the log: printed text, heartbeats, lineage."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops import Engine, activity, continue_as_new, run, workflow
from obelisk_ops.errors import ExecutionFailed
from obelisk_ops.storage import open_reader
from tests.commands import Commands, Ran
from tests.engines import QUICK, crash, until

log = logging.getLogger("looking")
LIMIT = 200
EVIL = "\x1b[2J\x1b]0;owned\x07\u202eevil"
CUT = len(f"begin{EVIL}\n".encode())


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "none.yml")


def say(*words: object, file: object = None) -> None:
    print(*words, file=file)  # type: ignore[call-overload]


@activity(retry=QUICK)
def talk() -> None:
    say("attempt", activity.attempt())
    say("two\tlines\rredrawn\r\n\nlast", file=sys.stderr)
    log.warning("careful")
    if activity.attempt() == 1:
        raise ValueError(EVIL)


@activity
def talk_much() -> None:
    say("begin" + "." * LIMIT + EVIL)


@activity
async def silent() -> None:
    pass


@workflow
async def talks() -> None:
    await talk()
    await silent()
    await talk_much()


class Looking:
    """``execution …`` on one database."""

    def __init__(self, commands: Commands, db: Path) -> None:
        self._commands, self._db = commands, db

    def text(self, *argv: str) -> Ran:
        return self._commands.run("execution", *argv, "--db", self._db)

    def __call__(self, *argv: str) -> Any:
        return self._commands.run("execution", *argv, "--db", self._db, "--json").told


@pytest.fixture
def look(commands: Commands, db: Path) -> Looking:
    async def drive() -> None:
        async with Engine(db, output_limit=LIMIT) as engine:
            await (await engine.submit(talks, id="t")).result()

    asyncio.run(drive())
    return Looking(commands, db)


def test_what_was_printed_is_shown_attempt_by_attempt(look: Looking) -> None:
    told = look("output", "t")
    pieces = told["output"]

    assert told["execution_id"] == "t"
    assert set(pieces[0]) == {"n", "function", "attempt", "stream", "at", "text", "cut_bytes"}
    assert [(p["n"], p["attempt"], p["stream"], p["text"]) for p in pieces[:3]] == [
        (1, 1, "stdout", "attempt 1\n"),
        (1, 1, "stderr", "two\tlines\rredrawn\r\n\nlast\n"),
        (1, 1, "log", "WARNING looking: careful\n"),
    ]
    assert {p["function"] for p in pieces} == {talk.name, talk_much.name}
    [cut] = [p for p in pieces if p["stream"] == "cut"]
    assert (cut["n"], cut["text"]) == (3, None)
    assert cut["cut_bytes"] == CUT


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [(1, 1), (1, 2), (3, 1)]),
        (("--call", "1"), [(1, 1), (1, 2)]),
        (("--call", "1", "--attempt", "2"), [(1, 2)]),
        (("--attempt", "1"), [(1, 1), (3, 1)]),
        (("--call", "2"), []),
    ],
)
def test_one_call_or_attempt(
    look: Looking, options: tuple[str, ...], found: list[tuple[int, int]]
) -> None:
    pieces = look("output", "t", *options)["output"]

    assert sorted({(p["n"], p["attempt"]) for p in pieces}) == found


def test_an_attempt_that_there_was_not_is_not_found(look: Looking) -> None:
    ran = look.text("output", "t", "--attempt", "9", "--json")

    assert (ran.status, ran.error["code"]) == (7, "not_found")
    assert "has no attempt 9; there are 1 to 2" in ran.error["message"]


def test_for_people_it_is_laid_out_and_harmless(look: Looking) -> None:
    ran = look.text("output", "t")
    lines = ran.out.splitlines()

    assert lines[0] == f"call 1, {talk.name}, attempt 1"
    assert lines[1].endswith("Z stdout  attempt 1")
    blank = " " * (len(lines[1]) - len("attempt 1"))
    assert lines[2].endswith("Z stderr  two\tlines")
    assert lines[3:6] == [f"{blank}redrawn", "", f"{blank}last"]
    assert lines[6].endswith("Z log     WARNING looking: careful")
    assert f"call 1, {talk.name}, attempt 2" in lines
    assert f"  … {CUT} bytes left out …" in lines
    assert lines[-1].endswith(r"\x1b[2J\x1b]0;owned\x07\u202eevil")
    assert set(ran.out) & set("\x1b\x07\r\u202e") == set()
    nothing = look.text("output", "t", "--call", "2")
    assert (nothing.status, nothing.out) == (0, "")
    assert "nothing is on record" in nothing.err


@pytest.mark.parametrize(
    ("argv", "status", "code"),
    [
        (("nobody",), 7, "execution_not_found"),
        (("t", "--call", "9"), 7, "not_found"),
        (("t", "--call", "0"), 2, "usage"),
    ],
)
def test_output_that_cannot_be(
    look: Looking, argv: tuple[str, ...], status: int, code: str
) -> None:
    ran = look.text("output", *argv, "--json")

    assert (ran.status, ran.out, ran.error["code"]) == (status, "", code)


@workflow
async def fails() -> None:
    raise ValueError(EVIL + "\nsecond line")


@pytest.mark.parametrize("command", [("show", "f"), ("why", "f"), ("result", "f"), ("list",)])
def test_errors_are_harmless_too(
    db: Path, commands: Commands, command: tuple[str, ...]
) -> None:
    with pytest.raises(ExecutionFailed):
        run(fails, db=db, id="f")

    ran = Looking(commands, db).text(*command)

    assert r"\x1b[2J\x1b]0;owned\x07\u202eevil" in ran.out + ran.err
    assert set(ran.out + ran.err) & set("\x1b\x07\u202e") == set()


# -- heartbeats ------------------------------------------------------------------------------


@workflow
async def trains() -> None:
    await train()


@activity
async def train() -> None:
    activity.heartbeat({"epoch": 3})
    await RELEASE.wait()


RELEASE = asyncio.Event()


def test_the_last_heartbeat_of_a_running_call(
    db: Path, tmp_path: Path, commands: Commands
) -> None:
    def has_beaten() -> bool:
        with closing(open_reader(db)) as reader:
            row = reader.find("f")
            return row is not None and bool(reader.beats(row.key))

    async def begin() -> Path:
        async with Engine(db) as engine:
            handle = await engine.submit(trains, id="f")
            await until(has_beaten, "the heartbeat is written")
            copy = crash(db, tmp_path / "copy")
            RELEASE.set()
            await handle.result()
            return copy

    dead = Looking(commands, asyncio.run(begin()))

    [call] = dead("show", "f")["attempts"]
    reasons = {reason["kind"]: reason for reason in dead("why", "f")["reasons"]}
    assert set(call["heartbeat"]) == {"attempt", "at", "details"}
    assert (call["heartbeat"]["attempt"], call["heartbeat"]["details"]) == (1, {"epoch": 3})
    assert reasons["activity"]["heartbeat"] == call["heartbeat"]
    assert reasons["unowned"]["heartbeat"] is None
    assert '{"epoch":3}' in dead.text("show", "f").out
    assert ': {"epoch":3}' in dead.text("why", "f").out
    unended = dead.text("output", "f")
    assert "call 1, attempt 1, has not ended" in unended.err
    over = Looking(commands, db)
    assert over("show", "f")["attempts"][0]["heartbeat"] is None


# -- lineage ---------------------------------------------------------------------------------


@workflow
async def counts_on(n: int) -> int:
    if n:
        continue_as_new(n - 1)
    return n


@workflow
async def parent() -> int:
    return await counts_on(0)


def lineage(shown: dict[str, Any]) -> list[Any]:
    names = ("parent_id", "forked_from", "continues", "continued_as", "schedule_id")
    return [shown[name] for name in names]


def test_an_execution_tells_where_it_comes_from(db: Path, commands: Commands) -> None:
    async def drive() -> str:
        async with Engine(db) as engine:
            await (await engine.submit(counts_on, 2, id="c")).result()
            await (await engine.submit(parent, id="p")).result()
            fork = await engine.fork("p", from_version=1, id="f")
            await fork.result()
            slot = await engine.schedule(counts_on, 0, cron="0 3 1 1 *", id="yearly")
            triggered = await slot.trigger()
            await triggered.result()
            return triggered.id

    scheduled = asyncio.run(drive())
    look = Looking(commands, db)

    assert lineage(look("show", "p")) == [None] * 5
    assert lineage(look("show", "p/1")) == ["p", None, None, None, None]
    assert lineage(look("show", "f")) == [None, {"id": "p", "version": 1}, None, None, None]
    assert lineage(look("show", "c")) == [None, None, None, "c~2", None]
    assert lineage(look("show", "c~2")) == [None, None, "c", "c~3", None]
    assert lineage(look("show", "c~3")) == [None, None, "c~2", None, None]
    assert lineage(look("show", scheduled)) == [None, None, None, None, "yearly"]
    assert '{"id":"p","version":1}' in look.text("show", "f").out
    assert "continued_as" not in look.text("show", "p").out


def test_what_was_not_begun_tells_it_too(db: Path, commands: Commands) -> None:
    run(parent, db=db, id="p")

    async def ask() -> None:
        async with Engine(db, serve=False) as engine:
            await engine.fork("p", from_version=1, id="f")

    asyncio.run(ask())

    shown = Looking(commands, db)("show", "f")
    assert (shown["state"], shown["forked_from"]) == ("pending", {"id": "p", "version": 1})
