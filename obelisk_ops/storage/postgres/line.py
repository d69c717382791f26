"""
A connection that gives up a server which says nothing, and has a short way for one statement.

The short way is libpq's own: a statement that is prepared once is sent, and heard of, past
the layers of the driver. Those take as long as the server takes for the whole statement.

Behind a pooler that gives each transaction another connection nothing is prepared, and what a
session would be told once each transaction is told: see ``run_together``.
"""

from __future__ import annotations

import select
from collections.abc import Generator, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus

from obelisk_ops.storage.postgres.vigil import Vigil

#: what the driver does between waiting and waiting
_Steps: TypeAlias = Generator[Any, Any, Any]
#: a statement and its values
Step: TypeAlias = tuple[str, Sequence[Any]]

_LOOK_MS: Final = 100  # as often as the driver itself looks
_SILENCE: Final = "the server does not answer"
_LOST: Final = "the connection is lost"
_NOT_PREPARED: Final = b"26000"
_DONE: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Line(psycopg.Connection[Any]):
    """
    See the module. One thread at a time.

    Attributes:
        is_pooled: Whether each transaction may be on another connection of the server.
    """

    #: how often it is looked for an answer in vain; None for ever
    looks_most: int | None = None
    is_pooled = False

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the driver's own
        super().__init__(*args, **options)
        self._statements: dict[str, bytes] = {}
        self._numbers = count()
        self._vigil = Vigil()

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

    def run_together(self, steps: Sequence[Step]) -> list[list[Any]]:
        """
        Run statements in one round trip.

        The pipeline of the driver sends a word behind its end. Of that a pooler makes another
        transaction, which nothing ends, and keeps a connection of the server for it.

        Returns:
            The rows of each.

        Raises:
            psycopg.Error: The first that failed; none after it was done.
        """
        adapter = Transformer(self)
        sent = [(step.encode(), *_adapted(adapter, values)) for step, values in steps]
        try:
            self.pgconn.enter_pipeline_mode()
            for statement, values, types, formats in sent:
                self.pgconn.send_query_params(statement, values, types, formats)
            self.pgconn.pipeline_sync()
            answers = self._answers()
            self.pgconn.exit_pipeline_mode()
        except BaseException:
            self.close()
            raise
        for answer in answers:
            if answer.status not in _DONE:
                raise psycopg.errors.error_from_result(answer)
        return [_rows(adapter, answer) for answer in answers]

    def _answers(self) -> list[Any]:
        """Return what came of each statement up to the end of a pipeline."""
        self._flush()
        answers: list[Any] = []
        while True:
            result = self._result()
            if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
                return answers
            if result is not None:
                answers.append(result)
            elif self.pgconn.status == ConnStatus.BAD:
                raise psycopg.OperationalError(_LOST)

    def _answer(self) -> Any:  # noqa: ANN401 - the driver has no name for it
        self._flush()
        answer = None
        while True:
            result = self._result()
            if result is None:
                return answer
            answer = answer or result

    def _flush(self) -> None:
        while self.pgconn.flush():  # it is longer than what the system takes at once
            self._look(select.POLLIN | select.POLLOUT)
            self.pgconn.consume_input()

    def _result(self) -> Any:  # noqa: ANN401
        while self.pgconn.is_busy():
            self._look(select.POLLIN)
            self.pgconn.consume_input()
        return self.pgconn.get_result()

    def _look(self, wanted: int) -> None:
        poll = select.poll()
        poll.register(self.pgconn.socket, wanted)
        if self._vigil.sees(partial(poll.poll, 0)):
            return
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


def _adapted(adapter: Any, values: Sequence[Any]) -> tuple[Any, Any, Any]:  # noqa: ANN401 - as the driver has it
    """Return values as libpq is given them, their types, and how they are written."""
    sent = adapter.dump_sequence(values, [PyFormat.AUTO] * len(values))
    return sent, adapter.types, adapter.formats


def _rows(adapter: Any, answer: Any) -> list[Any]:  # noqa: ANN401 - as the driver has it
    adapter.set_pgresult(answer)
    return list(adapter.load_rows(0, answer.ntuples, tuple))
