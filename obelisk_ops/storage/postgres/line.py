"""
A connection that gives up a server which says nothing, and has a short way for one statement.

The short way is libpq's own: a statement that is prepared once is sent, and heard of, past
the layers of the driver. Those take as long as the server takes for the whole statement.
"""

from __future__ import annotations

import select
from collections.abc import Generator, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus

#: what the driver does between waiting and waiting
_Steps: TypeAlias = Generator[Any, Any, Any]

_LOOK_MS: Final = 100  # as often as the driver itself looks
_SILENCE: Final = "the server does not answer"
_NOT_PREPARED: Final = b"26000"
_DONE: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Line(psycopg.Connection[Any]):
    """See the module. One thread at a time."""

    #: how often it is looked for an answer in vain; None for ever
    looks_most: int | None = None

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the driver's own
        super().__init__(*args, **options)
        self._statements: dict[str, bytes] = {}
        self._numbers = count()

    def wait(self, gen: _Steps, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as it has it
        """See the driver: whatever waits for the server comes by here."""
        is_bounded = self.looks_most is not None
        return super().wait(self._bounded(gen) if is_bounded else gen, *args, **options)

    def run_prepared(self, statement: str, values: Sequence[bytes]) -> None:
        """
        Run a statement that is a transaction by itself, and whose rows nobody wants.

        Raises:
            psycopg.Error: It failed; or the line is lost, or given up, and nobody knows.
        """
        answer = self._exchange(statement, values)
        if answer.error_field(DiagnosticField.SQLSTATE) == _NOT_PREPARED:
            # Behind a rollback the driver drops all that is prepared, ours too.
            self._statements.clear()
            answer = self._exchange(statement, values)
        if answer.status not in _DONE:
            raise psycopg.errors.error_from_result(answer)

    def _exchange(self, statement: str, values: Sequence[bytes]) -> Any:  # noqa: ANN401 - a result
        name = self._statements.get(statement) or self._prepare(statement)
        try:
            self.pgconn.send_query_prepared(name, values)
            return self._answer()
        except BaseException:
            self.close()  # what comes would be taken for the answer to something else
            raise

    def _prepare(self, statement: str) -> bytes:
        name = f"line_{next(self._numbers)}"
        psycopg.RawCursor(self).execute(f"PREPARE {name} AS {statement}".encode())
        self._statements[statement] = name.encode()
        return self._statements[statement]

    def _answer(self) -> Any:  # noqa: ANN401 - the driver has no name for it
        while self.pgconn.flush():  # it is longer than what the system takes at once
            self._look(select.POLLIN | select.POLLOUT)
            self.pgconn.consume_input()
        answer = None
        while True:
            while self.pgconn.is_busy():
                self._look(select.POLLIN)
                self.pgconn.consume_input()
            result = self.pgconn.get_result()
            if result is None:
                return answer
            answer = answer or result

    def _look(self, wanted: int) -> None:
        poll = select.poll()
        poll.register(self.pgconn.socket, wanted)
        looks = 0
        while not poll.poll(_LOOK_MS):
            looks += 1
            if looks == self.looks_most:
                raise psycopg.OperationalError(_SILENCE)

    def _bounded(self, gen: _Steps) -> _Steps:
        looks = 0
        try:
            wanted = next(gen)
            while True:
                is_ready = yield wanted
                looks = 0 if is_ready else looks + 1
                if looks > (self.looks_most or 0):
                    self.close()
                    gen.throw(psycopg.OperationalError(_SILENCE))
                wanted = gen.send(is_ready)
        except StopIteration as done:
            return done.value
