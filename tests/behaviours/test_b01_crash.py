"""A process that is killed, at any moment, and what the next one makes of it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from obelisk_ops import activity, join_set, random, run, sleep, storage, uuid4, workflow
from obelisk_ops.core.events import COMMANDS
from obelisk_ops.core.ports import Write
from obelisk_ops.errors import OpsError, StorageUnavailable
from obelisk_ops.storage import open_reader, open_store
from tests.databases import Database, as_typed
from tests.engines import NEVER, bodies, kinds, read_log
from tests.world import World, check_tables, knows, story, unordered


@activity
async def double(n: int) -> int:
    await asyncio.sleep(0.001 * n)
    return 2 * n


@workflow
async def draws(n: int) -> list[int]:
    return [random().randint(0, 10**6), await double(n), random().randint(0, 10**6)]


@workflow
async def family() -> list[Any]:
    async with join_set("members") as members:
        for n in range(3):
            members.submit(draws, n)
            members.submit(double, 10 + n)
        members.submit_delay(3)
        answers = [str(await members.next()) for _ in range(7)]
    await sleep(5)
    return [sorted(answers), str(uuid4()), await double(9)]


@pytest.fixture
def crashes(world: World) -> list[Database]:
    """What kills would have left of a run of *family*, from its first commit on."""

    async def undisturbed() -> list[Database]:
        async with world.engine(draws) as engine:
            await (await engine.submit(family, id="f")).result()
            return [db for db in world.every_crash() if knows(db, "f")]

    return world.run(undisturbed())


def test_o01_after_any_crash_the_log_is_that_of_an_undisturbed_run(
    world: World, crashes: list[Database]
) -> None:
    """
    Killed at any moment of a whole run, the rest is run, and the logs are the same.

    Attempts that begin again together may end in another order: of answers the set counts.
    """
    wanted = story(world.db)
    value = wanted["f"][-1][1]["ok"]

    for db in crashes:
        assert world.finish(db, draws, family) == value
        found = story(db)
        assert commands(found) == commands(wanted)
        assert unordered(found) == unordered(wanted)
        check_tables(db)
    assert len(crashes) >= 10


def commands(logs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [entry for entry in log if entry[0] in COMMANDS] for name, log in logs.items()
    }


@pytest.mark.behaviour("O03")
def test_o02_a_child_and_its_end_are_with_its_parent_or_not_at_all(
    crashes: list[Database],
) -> None:
    """
    At no moment has a child ended that its parent's inbox does not know, or the reverse.

    Nor is there a child without its call, or a call without its child.
    """
    seen = set()
    for db in crashes:
        logs = story(db)
        with closing(open_reader(db)) as reader:
            ended = {name for name, log in logs.items() if log[-1][0] == "finished"}
            parent = reader.find("f")
            assert parent is not None
            inbox = reader.inbox(parent.key).values()
            told = {f"f/{item.ref}" for item in inbox if item.kind == "child"}
        assert told == ended - {"f"}
        seen.add(len(told))
        asked = [body["id"] for kind, body in logs["f"] if kind == "child_created"]
        assert sorted(asked) == sorted(set(logs) - {"f"})
    assert len(seen) > 2


def test_o06_a_timer_that_came_due_meanwhile_fires_once(world: World) -> None:
    """A day late it fires at once, leaves one answer, and no armed timer."""

    @workflow
    async def waits() -> str:
        await sleep(60)
        return "awake"

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(waits, id="f")
            return world.crash()

    left = world.run(main())
    world.passed_s += 86_400
    came_back = world.now_ms()

    assert world.finish(left, waits) == "awake"
    assert kinds(read_log(left, "f")) == ["created", "timer_set", "timer_fired", "finished"]
    assert world.now_ms() - came_back < 1000
    check_tables(left)


class Outside:
    """What an activity did to the world, whatever becomes of its process."""

    def __init__(self) -> None:
        self.did: list[tuple[str, int]] = []

    async def do(self, what: str) -> int:
        self.did.append((what, activity.attempt()))
        return activity.attempt()


def test_p01_what_returned_is_not_run_again(world: World) -> None:
    """Killed after a result is on record, the next engine runs only what follows."""
    outside = Outside()

    @activity
    async def act(what: str) -> int:
        return await outside.do(what)

    @workflow
    async def flow() -> list[int]:
        first = await act("first")
        await sleep(1)
        return [first, await act("second")]

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(0.5)
            return world.crash()

    assert world.finish(world.run(main()), flow) == [1, 1]
    assert outside.did == [("first", 1), ("second", 1)]


def test_p02_what_was_cut_short_is_run_once_more_and_knows_it(world: World) -> None:
    """Killed after the effect and before the result: a second attempt, with the same key."""
    keys: list[tuple[str, int]] = []

    @activity(retry=NEVER)
    async def act() -> str:
        keys.append((activity.idempotency_key(), activity.attempt()))
        await asyncio.sleep(1)
        return "done"

    @workflow
    async def flow() -> str:
        return await act()

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(0.5)
            return world.crash()

    left = world.run(main())

    assert world.finish(left, flow) == "done"
    assert keys == [("f/1", 1), ("f/1", 2)]
    assert [body["try"] for body in bodies(read_log(left, "f"), "attempt_started")] == [2]


@pytest.mark.behaviour("O35")
def test_p02_being_cut_short_is_no_failure(world: World) -> None:
    """However often an attempt is cut short, its failures still count from none."""
    attempts: list[int] = []

    @activity(retry=NEVER)
    async def act() -> int:
        attempts.append(activity.attempt())
        await asyncio.sleep(10)
        return activity.attempt()

    @workflow
    async def flow() -> int:
        return await act()

    async def begin(db: Database) -> Database:
        async with world.engine(flow, db=db) as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(1)
        return db

    for _ in range(3):
        world.run(begin(world.db))

    assert world.finish(world.db, flow) == 4
    assert attempts == [1, 2, 3, 4]


class Hiccup:
    """A store whose next commit is durable, and reported as failed."""

    next = False

    def __init__(self, db: Database) -> None:
        self._store: Any = open_store(db)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, writes: list[Write]) -> Any:
        refused = self._store.commit(writes)
        if Hiccup.next:
            Hiccup.next = False
            raise StorageUnavailable("the connection was lost after the commit")
        return refused


def test_p04_a_commit_whose_answer_was_lost_repeats_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durable, but the engine was told otherwise: the value is found, and nothing is redone."""
    outside = Outside()

    @activity
    async def act(what: str) -> int:
        Hiccup.next = what == "second"
        return await outside.do(what)

    @workflow
    async def flow() -> int:
        return await act("first") + await act("second") + await act("third")

    async def main() -> None:
        async with world.engine(storage_timeout=1) as engine:
            handle = await engine.submit(flow, id="f")
            with pytest.raises(OpsError):
                await handle.result()

    with monkeypatch.context() as patch:
        patch.setattr(storage, "open_store", Hiccup)
        world.run(main())

    assert world.finish(world.db, flow) >= 3
    assert [what for what, _ in outside.did].count("second") == 1
    check_tables(world.db)


def test_p38_a_crash_makes_no_second_child(world: World, crashes: list[Database]) -> None:
    """Wherever it was killed, in the end there is each child once."""
    for db in crashes[::5]:
        world.finish(db, draws, family)
        assert list(story(db)) == ["f", "f/1", "f/3", "f/5"]


def test_p06_a_caught_error_is_the_same_after_a_crash(world: World) -> None:
    """Class, text and arguments of an error that code has caught do not change on replay."""
    seen: list[tuple[type[BaseException], str, Any]] = []

    @activity(retry=NEVER)
    async def fails() -> None:
        raise KeyError("tea", 7)

    @workflow
    async def flow() -> str:
        try:
            await fails()
        except LookupError as error:
            seen.append((type(error), str(error), error.args))
        await sleep(1)
        return "went on"

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(0.5)
            return world.crash()

    assert world.finish(world.run(main()), flow) == "went on"
    assert seen == [(KeyError, "('tea', 7)", ("tea", 7))] * 2


VALUES: list[Any] = [
    None, "", [], {}, 0, -1.5, 2**53 + 1, "tea ☕ \u0000 \U0001f388", "x" * 1_000_000,
    {"a": [{"b": [None, True, {"c": []}]}]}, [[[[[[1]]]]]],
]  # fmt: skip


def test_p07_values_are_the_same_live_and_on_replay(world: World) -> None:
    """What code is given is what was decoded, from the first time on."""
    seen: list[list[Any]] = []

    @activity
    async def give(n: int) -> Any:
        return VALUES[n]

    @activity
    async def pair() -> Any:
        return (1, {2: "two"})  # JSON has no tuples, and no numbers as keys

    @workflow
    async def flow() -> str:
        values = [await give(n) for n in range(len(VALUES))]
        seen.append([*values, await pair()])
        await sleep(1)
        return "compared"

    async def main() -> Database:
        async with world.engine() as engine:
            await engine.submit(flow, id="f")
            await asyncio.sleep(0.5)
            return world.crash()

    assert world.finish(world.run(main()), flow) == "compared"
    assert seen[0] == seen[1] == [*VALUES, [1, {"2": "two"}]]


def test_p09_an_error_that_cannot_be_rebuilt_can_be_read(world: World) -> None:
    """An exception with an odd constructor, and no text, ends the execution all the same."""

    class Odd(Exception):
        def __init__(self, one: int, *, two: object) -> None:
            super().__init__(one)
            self.two = two

        def __str__(self) -> str:
            raise RuntimeError("has no text")

    @activity(retry=NEVER)
    def fails() -> None:
        raise Odd(1, two=object())

    @workflow
    async def flow() -> None:
        await fails()

    with pytest.raises(OpsError, match="Odd"):
        run(flow, db=as_typed(world.db), id="f")

    [returned] = bodies(read_log(world.db, "f"), "returned")
    assert returned["error"]["type"].endswith("Odd")
    assert kinds(read_log(world.db, "f"))[-1] == "finished"
