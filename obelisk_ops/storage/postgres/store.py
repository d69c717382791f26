"""LogStore on PostgreSQL: the owner's connection, and the one that only reads and asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

import msgspec
import psycopg

from obelisk_ops.core.ports import (
    BeatRow,
    ExecutionFilter,
    InboxItem,
    Letter,
    LogRow,
    Output,
    State,
    StateRow,
    TimerRow,
    Write,
)
from obelisk_ops.core.workers import Adopted, Look, Sighting
from obelisk_ops.errors import OpsError
from obelisk_ops.storage.postgres import making
from obelisk_ops.storage.postgres.errors import is_guilty, is_loss, translate
from obelisk_ops.storage.postgres.line import Step
from obelisk_ops.storage.postgres.owning import Ownership
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import QUERIES, Session, Values
from obelisk_ops.storage.postgres.tasks import TaskBoard
from obelisk_ops.storage.reading import OwnerReader, TableReader, as_letter
from obelisk_ops.storage.writing import id_of_signal, one_by_one, steps

_encode = msgspec.json.Encoder().encode
#: so many are drawn at once; the sequence counts by that
_KEYS: Final = 100
_LETTERS_MAX: Final = 500
_OVER: Final = (State.FINISHED, State.PARKED)
_COMMIT: Final[Step] = ("COMMIT", ())
#: appends of one event, and of two
_FEW: Final = (QUERIES["append_one"], QUERIES["append_two"])


class PostgresReader(TableReader):
    """See LogReader. One connection, for one thread at a time."""

    def __init__(self, place: Place, session: Session | None = None) -> None:
        """
        Connect, or use a connection.

        Raises:
            DatabaseNotFound: There are no tables yet.
            ConfigError: The schema holds what is not ours.
            StorageUnavailable: The server does not answer.
        """
        self.label = place.label
        self._session = session or Session(place)

    def executions(self, wanted: ExecutionFilter) -> list[StateRow]:
        """See LogReader.executions."""
        if wanted.error is not None:
            wanted = replace(wanted, error=_visible(wanted.error))
        return super().executions(wanted)

    def outputs(self, key: int) -> list[Output]:
        """See LogReader.outputs."""
        found = self._rows("read_outputs", (key,))
        return [
            Output(n, attempt, stream, at, body.decode())
            for n, attempt, stream, at, body in found
        ]

    def find_signal(self, key: int, signal_id: str) -> InboxItem | None:
        """See Arrivals.find_signal."""
        return super().find_signal(key, _text(signal_id))

    def find_signal_letter(self, target: str, signal_id: str) -> Letter | None:
        """See Arrivals.find_signal_letter."""
        return super().find_signal_letter(target, _text(signal_id))

    def changes(self) -> int:
        """See LogReader.changes."""
        [(snapshot,)] = self._rows("changes")
        return hash(snapshot)

    def note_waiting(self, execution_id: str) -> None:
        """See Sender.note_waiting."""
        self._rows("note_waiting", (execution_id,))

    def close(self) -> None:
        """See LogReader.close."""
        self._session.close()

    def _rows(self, name: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._session.rows(name, values)

    def _has(self, table: str) -> bool:  # noqa: ARG002
        return True  # the first version of this schema had them all

    def _state(self, row: Sequence[Any]) -> StateRow:
        *facts, error = row
        return super()._state((*facts, error and msgspec.json.decode(error)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """
    A commit to which no answer was heard.

    Attributes:
        number: Its place among those of this owner.
        writes: As they were when it was sent.
        refused: Which of them it leaves out.
    """

    number: int
    writes: list[Write]
    refused: Mapping[int, OpsError] = field(default_factory=dict)


class PostgresStore(PostgresReader, OwnerReader):
    """See LogStore."""

    _session: Ownership
    letters_at_once = 50  # the rest is for others

    def __init__(self, place: Place) -> None:
        """
        Join the workers; make the tables if there are none.

        Raises:
            ConfigError: The schema holds what is not ours.
            StorageUnavailable: The server does not answer.
        """
        making.make_if_missing(place)
        super().__init__(place, Ownership(place))
        self.board = TaskBoard(place, self._rows, lambda: self._session.id)
        self._unheard: list[_Sent] = []
        self._functions: list[str] = []

    def unfinished(self) -> list[StateRow]:
        """See LogStore.unfinished."""
        return [self._state(row) for row in self._rows("unfinished", (self._session.id,))]

    def armed(self) -> list[TimerRow]:
        """See LogStore.armed."""
        return list(self._rows("armed_timers", (self._session.id,)))

    def last_beats(self) -> list[BeatRow]:
        """See LogStore.last_beats."""
        return list(self._rows("last_beats", (self._session.id,)))

    def draw_keys(self) -> Iterable[int]:
        """See LogStore.draw_keys."""
        [(first,)] = self._rows("draw_keys")
        return range(first, first + _KEYS)

    def take_letters(self) -> list[Letter]:
        """See LogStore.take_letters."""
        mine, functions = self._session, self._functions
        found = self._rows("own_letters", (mine.id, mine.is_keeper, functions, _LETTERS_MAX))
        own = [row for *row, is_free in found if not is_free]
        if len(own) < len(found):
            most = self.letters_at_once
            own += self._rows(
                "claim_letters",
                lambda: (mine.id, mine.is_keeper, mine.term, functions, most),
            )
        return sorted(map(as_letter, own), key=lambda letter: letter.id)

    @property
    def id(self) -> int:
        """See Shared.id."""
        return self._session.id

    @property
    def is_keeper(self) -> bool:
        """See Shared.is_keeper."""
        return self._session.is_keeper

    @property
    def commits(self) -> int:
        """See Shared.commits."""
        return self._session.commits

    def look(self, functions: Collection[str]) -> Look:
        """See Shared.look."""
        self._functions = sorted(functions)
        return self._session.look(functions)

    def adopt(self, row: Sighting) -> Adopted | None:
        """See Shared.adopt."""
        return self._session.adopt(row)

    def give(self, keys: Collection[int], to: int) -> bool:
        """See Shared.give."""
        return self._session.give(keys, to)

    def call(self, rows: Collection[int]) -> None:
        """See Shared.call."""
        self._session.call(rows)

    def be_patient(self, patience_s: float) -> None:
        """Wait for so long, in seconds, for a server that is away, or refuses to be read."""
        self._session.patience_s = patience_s

    def is_mine(self, key: int) -> bool:
        """See Shared.is_mine."""
        return bool(self._rows("is_mine", (key, self._session.id)))

    def is_waiting(self, letter: int) -> bool:
        """See Shared.is_waiting."""
        return bool(self._rows("is_waiting", (letter,)))

    def _rows(self, name: str, values: Values = ()) -> list[Any]:
        return self._session.rows_patiently(name, values)

    @property
    def last_owner_closed(self) -> bool:
        """Whether the owner before gave the database up by itself."""
        return self._session.last_owner_closed

    def commit(self, writes: Sequence[Write]) -> Mapping[int, OpsError]:
        """
        See LogStore.commit.

        Raises:
            Fenced: Another worker has taken its row.
        """
        self._session.ensure()
        arrived = [sent for sent in self._unheard if sent.number <= self._session.commits]
        self._unheard = arrived
        refused, begin = _told_again(arrived, writes)
        if arrived or begin < len(writes):
            # Also with nothing left: that a commit is to be seen does not say that a standby
            # has it, which the server may have been waiting for. The next answer does.
            guilty = {e: refused[at] for at in refused for e in writes[at].executions}
            rest = self._commit(writes[begin:], guilty)
            refused |= {begin + at: error for at, error in rest.items()}
        self._unheard = []
        self._tell([write for at, write in enumerate(writes) if at not in refused])
        return refused

    def checkpoint_by_itself(self, *, wanted: bool = True) -> None:
        """See LogStore.checkpoint_by_itself. The server does."""

    def checkpoint(self) -> None:
        """See LogStore.checkpoint. The server does."""

    def abandon(self) -> None:
        """Let go of the database as if the process had been killed."""
        self._session.abandon()

    def _commit(
        self, writes: Sequence[Write], guilty: Mapping[int, OpsError]
    ) -> Mapping[int, OpsError]:
        refused: dict[int, OpsError] = {}
        try:
            if guilty or not self._commit_all(writes):
                self._session.run([*self._session.beginning(), self._assertion()])
                refused = one_by_one(writes, self._try, guilty)
                self._session.run([_COMMIT])
        except psycopg.Error as error:
            if is_loss(error) or self._session.is_lost:
                self._session.drop()
                self._doubt(writes, refused)
            self._session.roll_back()
            raise translate(error, self.label) from error
        self._session.commits += 1
        return refused

    def _tell(self, writes: Sequence[Write]) -> None:
        """Wake those whom it concerns: who waits for what has ended, and who may claim."""
        over = [row.key for write in writes for row in write.changed if row.state in _OVER]
        queues = {row.queue for write in writes for row in write.tasks}
        if over:
            self._session.say("tell_waiting", (_text(over), self._session.channel))
        if queues:
            self._session.say("tell_claimers", (_text(sorted(queues)),))

    def _doubt(self, writes: Sequence[Write], refused: Mapping[int, OpsError]) -> None:
        number = self._session.commits + 1
        sent = _Sent(number=number, writes=deepcopy(list(writes)), refused=refused)
        self._unheard.append(sent)

    def _commit_all(self, writes: Sequence[Write]) -> bool:
        """Commit all, or nothing if one of them is guilty: return which it was."""
        try:
            is_short = len(writes) == 1 and writes[0].is_log_only
            if is_short and not self._session.is_pooled:
                self._session.run_one(*_alone(writes[0].log, self._session.asserted()))
            else:
                steps = [self._assertion(), *self._steps(writes), _COMMIT]
                self._session.run([*self._session.beginning(), *steps])
        except psycopg.Error as error:
            if not is_guilty(error):
                raise
            self._session.roll_back()
            return False
        return True

    def _try(self, write: Write) -> OpsError | None:
        try:
            self._session.run(
                [("SAVEPOINT one", ()), *self._steps([write]), ("RELEASE one", ())]
            )
        except psycopg.Error as error:
            if not is_guilty(error):
                raise
            self._session.take_back("one")
            return translate(error, self.label)
        return None

    def _assertion(self) -> Step:
        return QUERIES["assert_worker"], self._session.asserted()

    def _steps(self, writes: Sequence[Write]) -> list[Step]:
        """Return the statements for the rows of all writes, one for each table touched."""
        log = list(chain.from_iterable(write.log for write in writes))
        found: list[tuple[str, list[Any]]] = [("append", log)] if log else []
        found += steps(writes)
        whose = {"create_state": (self._session.id,)}
        return [
            (QUERIES[name], (_text(_shaped(name, rows)), *whose.get(name, ())))
            for name, rows in found
        ]


def _alone(log: Sequence[LogRow], asserted: Sequence[int]) -> tuple[str, list[bytes]]:
    """Return the statement that appends events if the owner is the owner, and its values."""
    values = [b"%d" % number for number in asserted]
    if not 0 < len(log) <= len(_FEW):
        return QUERIES["append_alone"], [*values, _encode(log)]
    for execution, version, at, kind, body in log:
        key = (execution << 32) + version
        values += (b"%d" % key, b"%d" % at, kind.encode(), body.encode())
    return _FEW[len(log) - 1], values


def _told_again(
    arrived: Sequence[_Sent], writes: Sequence[Write]
) -> tuple[dict[int, OpsError], int]:
    """Return what became of writes that are there already, and how many those are."""
    refused: dict[int, OpsError] = {}
    begin = 0
    for sent in arrived:
        end = begin + len(sent.writes)
        if list(writes[begin:end]) != sent.writes:
            raise OpsError("a commit without an answer was not repeated as it was")
        refused |= {begin + at: error for at, error in sent.refused.items()}
        begin = end
    return refused, begin


def _shaped(name: str, rows: list[Any]) -> list[Any]:
    shape = _SHAPES.get(name)
    return rows if shape is None else [shape(row) for row in rows]


def _with_error(row: Sequence[Any]) -> tuple[Any, ...]:
    *facts, error = row
    if error is None:
        return (*facts, None, None)
    return (*facts, _text(error), _visible(error.casefold()))


def _with_signal(row: Sequence[Any]) -> tuple[Any, ...]:
    return (*row, name_of(row[5]) if row[2] == "signal" else None)


def _with_bytes(row: Sequence[Any]) -> tuple[Any, ...]:
    return (*row[:6], row[6].encode())


#: rows of what PostgreSQL keeps in another way than SQLite
_SHAPES: Final[Mapping[str, Callable[[Sequence[Any]], tuple[Any, ...]]]] = {
    "create_state": _with_error,
    "change_states": _with_error,
    "add_inbox": _with_signal,
    "add_outputs": _with_bytes,
}


def _text(value: Any) -> str:  # noqa: ANN401 - rows, or a text that may hold U+0000
    return _encode(value).decode()


def name_of(body: str) -> str | None:
    """Return the id of a signal as it is looked up, from the body of one."""
    name = id_of_signal(body)
    return _text(name) if name else None


def _visible(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
