"""The only reader of ``os.environ``."""

from __future__ import annotations

import os
from collections.abc import Mapping

#: what a child needs to find programs, time zones and certificates; AWS_CA_BUNDLE, which
#: stops Litestream at its start, is left out with everything else
_CHILD_VARIABLES = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: an allow-listed part of this one, plus *extra*."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _CHILD_VARIABLES or name.startswith("LC_")
    }
    return kept | dict(extra)


def whole() -> dict[str, str]:
    """Return all of it: for a child that runs the user's own code in this one's place."""
    return dict(os.environ)


def variable(name: str) -> str | None:
    """Return a variable of the environment; an empty one counts as absent."""
    return os.environ.get(name) or None


def variables(prefix: str) -> dict[str, str]:
    """Return the variables of the environment whose names start with *prefix*."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefix)}
