"""The supervisor's log: one JSON object per line, and never a secret in it."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog

_HIDDEN = "[redacted]"
#: A shorter word would be found by chance, and its replacement would tell what it is.
_SECRET_LENGTH_MIN = 6


def json_log(
    stream: TextIO, *, secrets: Iterable[str]
) -> structlog.typing.FilteringBoundLogger:
    """Return a log that writes to *stream*, with every occurrence of a secret hidden."""
    hidden = [secret for secret in secrets if len(secret) >= _SECRET_LENGTH_MIN]

    def redact(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {key: _without(value, hidden) for key, value in event.items()}

    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=True,
    )
    return logger


def _without(value: object, secrets: Iterable[str]) -> object:
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, _HIDDEN)
    return value
