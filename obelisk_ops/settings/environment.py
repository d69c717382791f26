"""The only reader of ``os.environ``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: what a child needs to find programs, time zones and certificates; AWS_CA_BUNDLE, which
#: stops Litestream at its start, is left out with everything else
_CHILD_VARIABLES = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")

_OURS_ALONE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})


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


def for_command() -> dict[str, str]:
    """Return all of it but what the service manager says to us alone."""
    return {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceManager:
    """
    Who started this process and wants to hear from it.

    Attributes:
        address: The socket, as ``sendto`` takes it: a path, or a name that begins with NUL.
        watchdog_s: It wants a sign of life within so many seconds; None if not.
    """

    address: str
    watchdog_s: float | None = None


def service_manager() -> ServiceManager | None:
    """Return the service manager of this process (``sd_notify``); None if there is none."""
    given = variable("NOTIFY_SOCKET") or ""
    if not given.startswith(("/", "@")):
        return None
    abstract = given.startswith("@")
    return ServiceManager(
        address=f"\0{given[1:]}" if abstract else given, watchdog_s=_watchdog_s()
    )


def _watchdog_s() -> float | None:
    microseconds = variable("WATCHDOG_USEC") or ""
    watched = variable("WATCHDOG_PID")  # the variables of a parent may be inherited
    is_ours = watched is None or watched == str(os.getpid())
    if not is_ours or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000


def cache_folder() -> Path:
    """Return where this user's programs keep what they can do without; it may not exist."""
    given = variable("XDG_CACHE_HOME") or ""
    if given.startswith("/"):  # what is relative is to be ignored, says its specification
        return Path(given) / "obelisk-ops"
    caches = ("Library", "Caches") if sys.platform == "darwin" else (".cache",)
    return Path.home().joinpath(*caches, "obelisk-ops")


def variable(name: str) -> str | None:
    """Return a variable of the environment; an empty one counts as absent."""
    return os.environ.get(name) or None


def variables(prefix: str) -> dict[str, str]:
    """Return the variables of the environment whose names start with *prefix*."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefix)}
