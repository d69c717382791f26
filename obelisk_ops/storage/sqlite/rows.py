"""
Many rows with few statements.

A statement gives up the interpreter lock once, however many rows it has; and rows bound
as values cost half of the same rows read out of one JSON argument. Statements of a
thousand lengths would all have to be prepared, so lengths are powers of two. To prepare one
takes time with the square of its rows: 0.6 ms for 128, 12 ms for 512, which are no faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

_ROWS_MAX = 128


def repeated(statement: str, rows: int) -> str:
    """Return an ``INSERT … VALUES (…)`` for several rows of the same form."""
    head, values, row = statement.partition("VALUES")
    return f"{head}{values}{','.join([row] * rows)}"


class Rows:
    """Inserts rows of one form."""

    def __init__(self, execute: Callable[..., object], statement: str) -> None:
        """
        Prepare nothing yet.

        Args:
            execute: Runs a statement with its values.
            statement: Inserts one row.
        """
        self._execute = execute
        self._statement = statement
        self._by_length: dict[int, str] = {}

    def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert all."""
        begin, end = 0, len(rows)
        while begin < end:
            length = min(_ROWS_MAX, 1 << (end - begin).bit_length() - 1)
            some = rows[begin : begin + length]
            self._execute(self._of_length(length), tuple(chain.from_iterable(some)))
            begin += length

    def _of_length(self, rows: int) -> str:
        if rows not in self._by_length:
            self._by_length[rows] = repeated(self._statement, rows)
        return self._by_length[rows]
