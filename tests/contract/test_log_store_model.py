"""Random commits and questions: every store must answer as the in-memory model answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec import Raw
from msgspec.structs import replace

from obelisk_ops.core import events
from obelisk_ops.core.ports import (
    ExecutionFilter,
    LogStore,
    Mailbox,
    Result,
    State,
    StateChange,
    StateRow,
    Write,
)
from obelisk_ops.core.rows import CronRow, PrunedRow
from obelisk_ops.errors import OpsError
from obelisk_ops.storage.memory import MemoryStore
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.asking import PostgresMailbox
from obelisk_ops.storage.postgres.store import PostgresStore
from obelisk_ops.storage.sqlite.store import SqliteMailbox, SqliteStore
from tests.postgres import Postgres

Both = tuple[LogStore, Mailbox]

#: a number that no store gives to a letter
NO_LETTER = 0

KEYS = st.integers(1, 4)
IDS = st.sampled_from(["a", "b", "c", "d"])
FUNCTIONS = st.sampled_from(["m.f", "m.g"])
STATES = st.sampled_from(State)
TEXTS = st.none() | st.text("aA%_' é", max_size=3)
BODIES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5).map(
    lambda text: events.encode(events.Created(fn=text, input=Raw(b"[1]")))
)

ROWS = st.builds(
    StateRow, key=KEYS, id=IDS, function=FUNCTIONS, state=STATES, error=TEXTS,
    result=st.none() | st.sampled_from(Result), created_at=st.integers(0, 9),
)  # fmt: skip
CHANGES = st.builds(
    StateChange, key=KEYS, state=STATES, error=TEXTS,
    result=st.none() | st.sampled_from(Result), finished_at=st.none() | st.integers(0, 9),
)  # fmt: skip
LOG_ROWS = st.tuples(KEYS, st.integers(0, 5), st.integers(0, 9), st.just("returned"), BODIES)
INBOX_ROWS = st.tuples(
    KEYS, st.integers(1, 3), st.just("timer"), st.integers(1, 3), st.integers(0, 9), BODIES
)
SCHEDULES = st.sampled_from(["x", "y"])
CRON_ROWS = st.builds(
    CronRow, id=SCHEDULES, spec=BODIES, paused=st.booleans(), last=st.integers(0, 9),
    due=st.none() | st.integers(0, 9), running=st.lists(TEXTS.map(str), max_size=2).map(tuple),
)  # fmt: skip
TIMER_ROWS = st.tuples(KEYS, st.integers(1, 9), st.integers(0, 99))
BEAT_ROWS = st.tuples(KEYS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 9), BODIES)
START_ROWS = st.tuples(
    st.sampled_from(["p", "q"]), st.integers(0, 3), st.integers(0, 9), st.integers(1, 3)
)
OUTPUT_ROWS = st.tuples(
    KEYS, st.integers(1, 4), st.integers(1, 2), st.integers(1, 3), st.just("stdout"),
    st.integers(0, 9), BODIES,
)  # fmt: skip


PRUNED: list[PrunedRow] = [
    (key, version, seq) for key in range(1, 5) for version, seq in ((0, 0), (1, 2), (3, 1))
]


def few(rows: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(rows, max_size=2)


LONE = st.builds(Write, KEYS, st.lists(LOG_ROWS, max_size=3))
# Rows are grouped by table: what one group creates or arms, it does not change or disarm
# before that. No caller would; a timer's number and an execution's key are never used again.
CREATING = st.builds(
    Write, KEYS, few(LOG_ROWS), created=few(ROWS), inbox=few(INBOX_ROWS),
    timers=few(TIMER_ROWS), crons=few(CRON_ROWS), beats=few(BEAT_ROWS),
    starts=few(START_ROWS),
)  # fmt: skip
CHANGING = st.builds(
    Write, KEYS, few(LOG_ROWS), changed=few(CHANGES), inbox=few(INBOX_ROWS),
    timers_done=few(st.tuples(KEYS, st.integers(1, 9))), letters_done=few(st.integers(1, 4)),
    crons_gone=few(SCHEDULES), beats_done=few(st.tuples(KEYS, st.integers(1, 4))),
    outputs=few(OUTPUT_ROWS),
    starts_gone=few(st.tuples(st.sampled_from(["p", "q"]), st.integers(0, 3))),
)  # fmt: skip
FILTERS = st.builds(
    ExecutionFilter, state=st.none() | STATES, function=st.none() | FUNCTIONS,
    since=st.none() | st.integers(0, 9), error=TEXTS, after=st.none() | IDS,
    limit=st.integers(1, 5),
)  # fmt: skip


class LogStoreMachine(RuleBasedStateMachine):
    def __init__(self, server: Postgres) -> None:
        super().__init__()
        self.stack = ExitStack()
        path = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "log.db"
        at = place.read(self.stack.enter_context(server.lent()))
        self.openers: list[Callable[[], Both]] = [
            lambda: (SqliteStore(path), SqliteMailbox(path)),
            lambda: (PostgresStore(at), PostgresMailbox(at)),
        ]
        self.model = MemoryStore()
        self.reals = [opener() for opener in self.openers]

    @rule(write=LONE | CREATING | CHANGING)
    def commit_one(self, write: Write) -> None:
        self.same(lambda store: refusals(store, [write]))

    @rule(
        creating=st.lists(LONE | CREATING, max_size=4), changing=st.lists(CHANGING, max_size=3)
    )
    def commit_group(self, creating: list[Write], changing: list[Write]) -> None:
        self.same(lambda store: refusals(store, creating + changing))

    @rule(rows=st.lists(st.sampled_from(PRUNED), max_size=3, unique_by=lambda row: row[0]))
    def prune(self, rows: list[PrunedRow]) -> None:
        self.same(lambda store: refusals(store, [Write(0, [], pruned=rows)]))

    @rule(execution_id=IDS, given=st.sampled_from([b"[1]", b"[2]"]))
    def ask(self, execution_id: str, given: bytes) -> None:
        body = events.encode(events.Created(fn="m.f", input=Raw(given)))
        known = self.model.find(execution_id)
        if known and [e.version for e in self.model.log(known.key)][:1] != [0]:
            return  # no execution is without its first event
        answers = [
            outcome(lambda store: store.ask("create", execution_id, body, now_ms=1), store)
            for store in (self.model, *(mailbox for _, mailbox in self.reals))
        ]
        assert answers == answers[:1] * 3

    @rule(wanted=FILTERS)
    def list_executions(self, wanted: ExecutionFilter) -> None:
        self.same(lambda store: store.executions(wanted))

    @rule()
    def reopen(self) -> None:
        self.close()
        self.reals = [opener() for opener in self.openers]

    @invariant()
    def they_hold_the_same(self) -> None:
        self.same(lambda store: store.unfinished())
        self.same(lambda store: store.last_key())
        self.same(lambda store: store.crons())
        self.same(lambda store: store.last_beats())
        self.same(lambda store: store.starts())
        self.same(lambda store: store.leftovers())
        self.same(lambda store: store.finished_roots(1, 4))
        self.same(lambda store: store.newest_roots(2))
        self.same(lambda store: store.weight([1, 3, 9]))
        self.same(lambda store: [letter.target for letter in store.letters(9)])
        for key in range(1, 5):
            self.same(lambda store, key=key: store.log(key))
            self.same(lambda store, key=key: store.inbox(key))
            self.same(lambda store, key=key: store.timers(key))
            self.same(lambda store, key=key: store.beats(key))
            self.same(lambda store, key=key: store.outputs(key))

    def same(self, call: Callable[..., object]) -> None:
        expected = outcome(call, self.model)
        assert [outcome(call, store) for store, _ in self.reals] == [expected] * 2

    def close(self) -> None:
        for store, mailbox in self.reals:
            mailbox.close()
            store.close()

    def teardown(self) -> None:
        self.close()
        self.stack.close()


def refusals(store: LogStore, writes: list[Write]) -> dict[int, type[OpsError]]:
    numbers = dict(enumerate((letter.id for letter in store.letters(9)), 1))
    own = [_with_numbers(write, numbers) for write in writes]
    return {at: type(error) for at, error in store.commit(own).items()}


def _with_numbers(write: Write, numbers: dict[int, int]) -> Write:
    """Name the first letter, the second and so on by the numbers that this store gave them."""
    return replace(
        write, letters_done=[numbers.get(at, NO_LETTER) for at in write.letters_done]
    )


def outcome(call: Callable[..., object], store: object) -> object:
    try:
        return call(store)
    except OpsError as error:
        return type(error)


def test_every_store_answers_as_the_model(postgres: Postgres) -> None:
    _run(postgres, examples=12)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_every_store_answers_as_the_model_to_very_many(postgres: Postgres) -> None:
    _run(postgres, examples=1000)


def _run(server: Postgres, examples: int) -> None:
    how = settings(
        max_examples=examples, stateful_step_count=20, report_multiple_bugs=False,
        print_blob=True,
    )  # fmt: skip
    make: Any = partial(LogStoreMachine, server)
    run_state_machine_as_test(make, settings=how)
