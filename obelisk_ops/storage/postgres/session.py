"""
One connection to the server, made again when it was lost.

Reading is repeated on a new connection; what writes knows better what to do, and does it.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.types.numeric import Int8Dumper

from obelisk_ops.core.migrating import Standing
from obelisk_ops.errors import (
    ConfigError,
    CredentialsError,
    DatabaseNotFound,
    StorageUnavailable,
)
from obelisk_ops.storage import sql
from obelisk_ops.storage.postgres import errors
from obelisk_ops.storage.postgres.line import Line, Step
from obelisk_ops.storage.postgres.migrations import NEWEST
from obelisk_ops.storage.postgres.place import Place

#: what a statement is given, or what returns it at the moment when it is sent
Values: TypeAlias = Sequence[Any] | Callable[[], Sequence[Any]]

PACKAGE: Final = "obelisk_ops.storage.postgres"
QUERIES: Final = {
    name: text
    for file in ("queries", "queries_migrating", "queries_survey", "queries_tasks")
    for name, text in sql.load(PACKAGE, f"{file}.sql").items()
}
_IDLE: Final = psycopg.pq.TransactionStatus.IDLE
#: What libpq is told unless the URL says otherwise. A server that is gone without a word is
#: given up in half a minute, as it gives up us (see be_impatient); the system takes hours.
_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 10, "fallback_application_name": "obelisk-ops", "keepalives_idle": 10,
    "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000,
}  # fmt: skip
_PATIENCE_MS = "10000"
_LOOKS, _LOOK_S = 100, 0.1
#: so often in a row is done again what the server has undone for the sake of others
CONFLICTS_MAX: Final = 5
_pause = threading.Event()


class Session:
    """A connection that reads, and asks; one thread at a time."""

    _looks_most: int | None = None

    def __init__(self, place: Place) -> None:
        """
        Connect.

        Raises:
            StorageUnavailable: The server does not answer, or cannot serve.
            CredentialsError: It refuses the user.
            ConfigError: The schema holds no executions.
        """
        self.place, self.channel = place, place.channel()
        self._in_transaction = False
        self._is_closed = False
        self._connect()

    @property
    def is_pooled(self) -> bool:
        """Whether each transaction may be on another connection of the server."""
        return self._connection.is_pooled

    def rows(self, name: str, values: Values = ()) -> list[Any]:
        """Run a statement, and return its rows; again, if that was undone or not heard of."""
        for _ in range(CONFLICTS_MAX):
            try:
                return self._fetch(name, values)
            except psycopg.Error as error:
                is_over = self._in_transaction or self._is_closed
                if is_over or not (errors.is_conflict(error) or self._connection.closed):
                    raise self.in_words(error) from error
            self.ensure()
        try:
            return self._fetch(name, values)
        except psycopg.Error as error:
            raise self.in_words(error) from error

    def run(self, steps: Sequence[Step]) -> None:
        """
        Send several statements at once, and hear of all of them together.

        Raises:
            psycopg.Error: The first that failed; none after it was done.
        """
        if self.is_pooled:
            self._connection.run_together(steps)
            return
        failures: list[psycopg.Error] = []
        try:
            with self._connection.pipeline():
                self._send(steps, failures)
        except psycopg.Error as error:
            failures.append(error)
        if failures:
            raise failures[0]

    def _send(self, steps: Sequence[Step], failures: list[psycopg.Error]) -> None:
        # What is raised out of the pipeline's own block is logged by the driver. Not prepared:
        # the driver would believe in statements that a failed pipeline never came to.
        try:
            for statement, values in steps:
                self._cursor.execute(statement, values, prepare=False)
        except psycopg.Error as error:
            failures.append(error)

    def say(self, name: str, values: Sequence[Any]) -> None:
        """Wake others, by itself: a commit that notifies holds up others until it is synced."""
        with suppress(psycopg.Error):  # those whom it concerns look now and then
            self._fetch(name, values)

    def run_one(self, statement: str, values: Sequence[bytes]) -> None:
        """Run one statement that is a transaction by itself; raises psycopg.Error."""
        self._connection.run_prepared(statement, values)

    @contextmanager
    def transaction(self, *steps: Step, level: str = "REPEATABLE READ") -> Iterator[None]:
        """
        Do what is in the block in one transaction, or nothing of it.

        Args:
            *steps: What is sent together with its beginning.
            level: How much of what others do is seen meanwhile.
        """
        self.ensure()
        self._in_transaction = True
        try:
            self.run(self.beginning(*steps, level=level))
            yield
            self.run([("COMMIT", ())])
        except psycopg.Error as error:
            raise self.in_words(error) from error
        finally:
            self._in_transaction = False
            self.roll_back()

    def beginning(self, *steps: Step, level: str = "") -> list[Step]:
        """Return what begins a transaction in which some statements come first."""
        return beginning(self._connection, self.place, *steps, level=level)

    def is_committed(self, transaction: str) -> bool:
        """
        Tell what became of a transaction to whose end no answer was heard.

        Raises:
            StorageUnavailable: The server does not know it yet, or does not answer.
        """
        for _ in range(_LOOKS):
            [(fate,)] = self.rows("fate_of", (transaction,))
            if fate != "in progress":
                return bool(fate == "committed")
            _pause.wait(_LOOK_S)  # its process has not noticed yet that we are gone
        raise StorageUnavailable(
            f"{self.place.label}: whether what was asked has arrived is not known yet",
            hint="see whether it has, before it is asked again",
        )

    def take_back(self, savepoint: str) -> None:
        """Undo what was done since a savepoint."""
        self.run([(f"ROLLBACK TO {savepoint}", ()), (f"RELEASE {savepoint}", ())])

    def roll_back(self) -> None:
        """End a transaction that is open, if there is one."""
        with suppress(psycopg.Error):  # the connection is lost, and the transaction with it
            if self._connection.info.transaction_status != _IDLE:
                self._connection.execute("ROLLBACK")

    @property
    def is_lost(self) -> bool:
        """Whether the connection ended, and nobody wanted that."""
        return self._connection.closed and not self._is_closed

    def drop(self) -> None:
        """Use this connection no more; the next question makes another."""
        self._connection.close()

    def ensure(self) -> None:
        """Return once there is a connection."""
        if self.is_lost:
            self.reconnect()

    def reconnect(self) -> None:
        """Connect again, as at the beginning."""
        try:
            self._connect()
        except CredentialsError as error:
            # It had let us in; and a server without room says no in the same way.
            raise StorageUnavailable(error.message, hint=error.hint) from error

    def close(self) -> None:
        """Let go. Twice is allowed."""
        self._is_closed = True
        self._connection.close()

    def in_words(self, error: psycopg.Error) -> Exception:
        """Return the error of ours for one of the driver's."""
        return errors.translate(error, self.place.label)

    def _fetch(self, name: str, values: Values) -> list[Any]:
        given = values() if callable(values) else values
        if self.is_pooled:
            return ask(self._connection, self.place, name, given)
        self._cursor.execute(QUERIES[name], given)
        return self._cursor.fetchall() if self._cursor.description else []

    def _connect(self) -> None:
        connection = self._connection = connect(self.place)
        connection.looks_most = self._looks_most
        try:
            self._cursor = psycopg.RawCursor(connection)
            self._arrange()
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise errors.translate(error, self.place.label) from error
            raise

    def _arrange(self) -> None:
        """Make a new connection what is wanted of it, or refuse the database."""
        refuse_foreign(self._connection, self.place)


def ask(line: Line, place: Place, name: str, values: Sequence[Any] = ()) -> list[Any]:
    """
    Run one statement, and return its rows: a transaction by itself, if none is open.

    Raises:
        psycopg.Error: It failed.
    """
    if not line.is_pooled:
        cursor = psycopg.RawCursor(line).execute(QUERIES[name], values)
        return cursor.fetchall() if cursor.description else []
    step = (QUERIES[name], values)
    if line.info.transaction_status != _IDLE:
        return line.run_together([step])[0]
    try:
        return line.run_together([*beginning(line, place), step, ("COMMIT", ())])[-2]
    except psycopg.Error:
        with suppress(psycopg.Error):
            line.execute("ROLLBACK")
        raise


def beginning(line: Line, place: Place, *steps: Step, level: str = "") -> list[Step]:
    """Return what begins a transaction in which some statements come first."""
    if not line.is_pooled:
        return [(f"BEGIN ISOLATION LEVEL {level}" if level else "BEGIN", ()), *steps]
    begin = (f"BEGIN ISOLATION LEVEL {level or 'READ COMMITTED'}", ())
    if not steps:
        return [begin, _told(place)]
    # To tell it takes a snapshot, and so it comes last: a lock may be waited for before.
    path = f'SET LOCAL search_path = "{place.schema}"'
    patience = f"SET LOCAL lock_timeout = {_PATIENCE_MS}"
    return [begin, (path, ()), (patience, ()), *steps, _told(place)]


def settle(line: Line, place: Place) -> None:
    """Tell a transaction that has just begun what it is to be told."""
    if line.is_pooled:
        line.run_together([_told(place)])


def _told(place: Place) -> Step:
    """Return what each transaction is told behind a pooler, as a session is once."""
    return QUERIES["settle_transaction"], (f'"{place.schema}"', _PATIENCE_MS)


def connect(place: Place) -> Line:
    """
    Open a connection whose statements are transactions by themselves.

    Raises:
        StorageUnavailable: The server does not answer.
        CredentialsError: It refuses the user.
        ConfigError: libpq cannot read the URL.
    """
    conninfo = ""
    try:
        given = psycopg.conninfo.conninfo_to_dict(place.url)
        conninfo = psycopg.conninfo.make_conninfo(**(_DEFAULTS | given))
        connection = Line.connect(conninfo, autocommit=True)
    except psycopg.ProgrammingError:  # its text may quote the URL
        raise ConfigError(
            f"{place.label} has an option that PostgreSQL's library does not know",
            hint="those are told at postgresql.org/docs/current/libpq-connect.html",
        ) from None
    except psycopg.OperationalError as error:
        raise errors.unreachable(error, place.label, conninfo) from error
    # Each size of a number would be a statement of its own to the server.
    connection.adapters.register_dumper(int, Int8Dumper)
    try:
        _settle_in(connection, place)
    except psycopg.Error as error:
        connection.close()
        raise errors.translate(error, place.label) from error
    return connection


def _settle_in(line: Line, place: Place) -> None:
    """
    Tell a new connection what is wanted of it, and find out whether it is one.

    A pooler cannot tell us the number of the server's process: it is another one each time.
    """
    told = {"": line.info.backend_pid, "transaction": 0, "session": None}[place.pooler]
    settings = (f'"{place.schema}"', told)
    cursor = psycopg.RawCursor(line).execute(QUERIES["settle_in"], settings)
    [(line.is_pooled, *_)] = cursor.fetchall()
    if line.is_pooled:
        line.prepare_threshold = None
        line.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    else:
        cursor.execute(QUERIES["be_impatient"], (_PATIENCE_MS,))


def standing(line: Line, place: Place) -> Standing | None:
    """
    Return which version the tables of the schema have; None if it holds nothing yet.

    Raises:
        ConfigError: It holds tables of another program.
    """
    [(ours, tables)] = ask(line, place, "user_tables")
    if not tables:
        return None
    facts = dict(ask(line, place, "read_meta")) if ours else {}
    if "database_id" not in facts:
        raise ConfigError(
            f"{place.label}: the schema {place.schema!r} belongs to another program",
            hint="give workflows a schema of their own: ?schema=NAME in the URL",
        )
    version = int(facts["schema_version"])
    return Standing(version=version, oldest=int(facts.get("oldest_version", version)))


def is_missing(line: Line, place: Place) -> bool:
    """
    Tell whether the schema holds nothing yet.

    Raises:
        ConfigError: It holds tables of another program, or of a version that does not fit.
    """
    found = standing(line, place)
    if found is None:
        return True
    refuse_newer(found, place, NEWEST.version)
    if found.version < NEWEST.version:
        raise ConfigError(
            f"{place.label} has schema version {found.version}; this program needs "
            f"{NEWEST.version}",
            hint=f"bring them there: obelisk-ops db migrate --db {shlex.quote(place.label)}",
        )
    return False


def refuse_newer(found: Standing, place: Place, knows: int) -> None:
    """
    Refuse tables with which a program cannot work that *knows* an older version.

    Raises:
        ConfigError: They are such.
    """
    if found.oldest > knows:
        raise ConfigError(
            f"{place.label} has schema version {found.version}; this program knows up to "
            f"{knows}",
            hint="pip install --upgrade obelisk-ops",
        )


def refuse_foreign(line: Line, place: Place) -> None:
    """
    Refuse a schema that holds no executions.

    Raises:
        ConfigError: It is another program's, or of a version that does not fit.
        DatabaseNotFound: There is none.
    """
    if is_missing(line, place):
        raise DatabaseNotFound(
            f"there are no executions in {place.label}",
            hint="the tables are made by who first serves it, or submits to it",
        )
