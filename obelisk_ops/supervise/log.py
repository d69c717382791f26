"""The supervisor's log: one JSON object per line, and never a secret in it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from obelisk_ops.settings import hide_in


def json_log(stream: TextIO) -> structlog.typing.FilteringBoundLogger:
    """Return a log that writes to *stream*; every secret that was read by then is hidden."""
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=True,
    )
    return logger


def _redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {key: hide_in(value) for key, value in event.items()}
