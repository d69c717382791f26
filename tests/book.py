"""What is written to a log, and what was durable at that moment."""

from __future__ import annotations

import logging
from pathlib import Path

from tests.engines import kinds, read_log


class Book(logging.Handler):
    """Keeps what is written, and what was durable at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.durable: list[list[str]] = []
        self.database: Path | None = None
        self.raises: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if self.database is not None:
            self.durable.append(kinds(read_log(self.database, "f")))
        if self.raises is not None:
            raise self.raises

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]
