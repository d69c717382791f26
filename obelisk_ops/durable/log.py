"""The engine's log: key=value lines of the standard logger ``obelisk_ops.engine``."""

from __future__ import annotations

import logging

import structlog

# A library configures no logging of its program, and must not print on stdout, which
# belongs to results. Unconfigured, the standard library shows warnings on stderr.
log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger("obelisk_ops.engine"),
    processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
    wrapper_class=structlog.stdlib.BoundLogger,
)
