"""
Several stores on one schema, and a dice: who joins, ends, dies, stands still, comes back.

No engine, no time that passes: leases end because the test says so. After every step each
unfinished execution is one worker's, what a fenced one writes is refused, and at the end every
letter was delivered once. OBELISK_OPS_TEST_SEED repeats a run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from msgspec import Raw

from obelisk_ops.core import events, requests
from obelisk_ops.core.ports import Letter, State, StateChange, StateRow, Write
from obelisk_ops.core.workers import GRACE_MS, TTL_MS, to_adopt
from obelisk_ops.errors import Fenced
from obelisk_ops.storage.postgres import making, place
from obelisk_ops.storage.postgres.asking import PostgresMailbox
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.store import PostgresStore
from tests.fault.test_kill import seed
from tests.postgres import Postgres

FUNCTIONS = ("m.a", "m.b")
_DILIGENCE = 0.8  # of ten letters that are taken two are answered later


@dataclass(eq=False)
class Worker:
    """What an engine would know, as far as it matters here."""

    store: PostgresStore
    functions: frozenset[str]
    is_frozen: bool = False
    keys: Iterator[int] = field(default_factory=lambda: iter(()))

    def key(self) -> int:
        for key in self.keys:
            return key
        self.keys = iter(self.store.draw_keys())
        return next(self.keys)


class World:
    """A schema, the workers that live, and what they were given."""

    def __init__(self, at: Place, server: Postgres, dice: random.Random) -> None:
        self.at, self.server, self.dice = at, server, dice
        self.mailbox = PostgresMailbox(at)
        self.workers: list[Worker] = []
        self.frozen: list[Worker] = []
        self.posted = 0
        self.made: list[str] = []
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.told: list[str] = []

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        return self.server.psql(statement.replace("{}", self.at.schema))

    def end_leases(self, whose: str) -> None:
        self.sql(f"UPDATE {{}}.worker SET lease_until = now() - interval '1 s' WHERE {whose}")  # noqa: S608

    # -- what may happen -----------------------------------------------------------------

    def join(self) -> None:
        if len(self.workers) < 4:
            served = frozenset(self.dice.sample(FUNCTIONS, self.dice.randint(1, 2)))
            worker = Worker(PostgresStore(self.at), served)
            worker.store.look(served)
            self.workers.append(worker)

    def end(self) -> None:
        if self.workers:
            self.take_one().store.close()

    def die(self) -> None:
        if self.workers:
            self.take_one().store.abandon()

    def freeze(self) -> None:
        """Its lease ends, and it does not know."""
        if self.workers:
            worker = self.take_one()
            self.frozen.append(worker)
            self.end_leases(f"id = {worker.store.id}")

    def thaw(self) -> None:
        """It goes on; whoever took over is before it, or it renews its lease in time."""
        if self.frozen:
            worker = self.frozen.pop(self.dice.randrange(len(self.frozen)))
            try:
                self.work(worker)
                self.look(worker)
            except Fenced:
                worker.store.abandon()
            else:
                self.workers.append(worker)

    def post(self) -> None:
        self.posted += 1
        name = f"e{self.posted}"
        body = events.Created(fn=self.dice.choice(FUNCTIONS), input=Raw(b"[]"))
        self.mailbox.ask("create", name, events.encode(body), now_ms=1)
        self.made.append(name)

    def signal(self) -> None:
        if self.made:
            name, number = self.dice.choice(self.made), f"s{len(self.told)}"
            body = requests.Signal(name="go", value=Raw(b"1"), id=number)
            if self.mailbox.ask("signal", name, requests.encode(body), now_ms=1):
                self.told.append(number)

    def someone_works(self) -> None:
        if self.workers:
            self.work(self.dice.choice(self.workers))

    def someone_looks(self) -> None:
        if self.workers:
            self.look(self.dice.choice(self.workers))

    # -- as an engine does ---------------------------------------------------------------

    def work(self, worker: Worker) -> None:
        letters = worker.store.take_letters()
        self.dice.shuffle(letters)
        for letter in letters:
            write = self.answered(worker, letter) if self.dice.random() < _DILIGENCE else None
            if write is not None:
                assert worker.store.commit([write]) == {}
                self.delivered[letter.kind, f"{letter.target} {letter.body}"] += 1

    def answered(self, worker: Worker, letter: Letter) -> Write | None:
        if letter.kind == "create":
            key = worker.key()
            row = StateRow(
                key=key, id=letter.target, function="m.a", state=State.PENDING, created_at=1
            )
            log = [(key, 0, 1, "created", letter.body)]
            return Write(key, log, created=[row], letters_done=[letter.id])
        row_ = worker.store.find(letter.target)
        if row_ is None:
            return None  # it is to be made first
        assert worker.store.is_mine(row_.key), "it has come to the wrong one"
        seq = worker.store.ends(row_.key)[1] + 1
        inbox = [(row_.key, seq, "signal", 0, 1, letter.body)]
        return Write(row_.key, [], inbox=inbox, letters_done=[letter.id])

    def hold_leases(self) -> None:
        """No time passes for who lives, however long this process stands still."""
        living = ", ".join(str(worker.store.id) for worker in self.workers)
        if living:
            self.sql(
                "UPDATE {}.worker SET lease_until = clock_timestamp() + interval '10 s'"  # noqa: S608
                f" WHERE id IN ({living})"
            )

    def look(self, worker: Worker) -> None:
        found = worker.store.look(worker.functions).workers
        found = [replace(one, up_ms=TTL_MS) for one in found]  # the server is not that old
        before = [replace(one, seen_ms=one.seen_ms - GRACE_MS) for one in found]
        for row in to_adopt(found, before, worker.store.id):
            worker.store.adopt(row)

    # -- what is always so ---------------------------------------------------------------

    def take_one(self) -> Worker:
        return self.workers.pop(self.dice.randrange(len(self.workers)))

    def check(self) -> None:
        [(keepers,)] = self.sql("SELECT count(*) FROM {}.worker WHERE is_keeper")
        assert keepers == bool(self.sql("SELECT 1 FROM {}.worker LIMIT 1"))
        strays = self.sql(
            "SELECT id FROM {}.state WHERE state <> 'finished' AND worker NOT IN"
            " (SELECT id FROM {}.worker WHERE NOT is_empty)"
        )
        assert strays == [], "nobody would go on with it"
        owned = Counter(row.key for one in self.workers for row in one.store.unfinished())
        assert set(owned.values()) <= {1}, "two have it"

    def come_to_rest(self) -> None:
        """With one worker that serves all, everything is delivered."""
        last = Worker(PostgresStore(self.at), frozenset(FUNCTIONS))
        for worker in [*self.workers, *self.frozen]:
            worker.store.abandon()
        self.workers, self.frozen = [last], []
        self.end_leases(f"id <> {last.store.id} AND NOT is_closed")
        for _ in range(20):
            self.look(last)
            self.work(last)
            if not self.sql("SELECT 1 FROM {}.mailbox LIMIT 1"):
                break
        self.check()
        rows = last.store.unfinished()
        assert sorted(row.id for row in rows) == sorted(self.made)
        assert set(self.delivered.values()) <= {1}, "twice"
        assert len(self.delivered) == len(self.made) + len(self.told)
        assert sum(len(last.store.inbox(row.key)) for row in rows) == len(self.told)
        last.store.commit(
            [
                Write(row.key, [], changed=[StateChange(key=row.key, state=State.FINISHED)])
                for row in rows
            ]
        )


STEPS = {
    World.join: 3, World.end: 1, World.die: 1, World.freeze: 1, World.thaw: 1, World.post: 4,
    World.signal: 4, World.someone_works: 8, World.someone_looks: 4,
}  # fmt: skip


def play(server: Postgres, rounds: int, chosen: int) -> None:
    print(f"OBELISK_OPS_TEST_SEED={chosen}")  # noqa: T201 - to repeat a failure
    dice = random.Random(chosen)
    with server.lent() as url:
        at = place.read(url)
        making.make_if_missing(at)
        world = World(at, server, dice)
        try:
            for step in dice.choices(list(STEPS), weights=list(STEPS.values()), k=rounds):
                world.hold_leases()
                step(world)
                world.check()
            world.come_to_rest()
        finally:
            world.mailbox.close()
            for worker in [*world.workers, *world.frozen]:
                worker.store.abandon()


def test_each_execution_is_one_workers_and_each_letter_is_delivered_once(
    postgres: Postgres,
) -> None:
    play(postgres, 120, seed())


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("round_", range(50))
def test_fifty_times(postgres: Postgres, round_: int) -> None:
    play(postgres, 300, seed() + round_)
