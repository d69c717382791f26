"""
What lies between "on this disk" and "may be known outside".

Two implementations: here nothing, and in ``durable.supervised`` the question to the
supervisor whether the bucket holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

from obelisk_ops.core.durations import seconds
from obelisk_ops.errors import ConfigError

Durability = Literal["local", "replicated"]
OnTimeout = Literal["fail", "wait"]

REPLICATED: Durability = "replicated"
_DURABILITIES = ("local", REPLICATED)
_ON_TIMEOUT = ("fail", "wait")


class Barrier(Protocol):
    """Says when what was committed is where it has to be before anybody may know of it."""

    def check(self, who: str) -> None:
        """
        Make sure that it can be passed at all; *who*, a name, is about to depend on it.

        Raises:
            ConfigError: It never can: nothing brings this database into a bucket.
        """
        ...

    async def passed(self, told: Callable[[str], None]) -> None:
        """
        Return once everything that was committed before this call is there.

        Args:
            told: Given, in words, what it waits for, whenever that is news.

        Raises:
            Unavailable: It cannot be found out now; ask again.
            Fenced: It never will be: another owner has the right to write.
        """
        ...

    def close(self) -> None:
        """Ask no more."""
        ...


class NoBarrier:
    """The disk is where it has to be."""

    def check(self, who: str) -> None:
        """See Barrier.check."""

    async def passed(self, told: Callable[[str], None]) -> None:
        """See Barrier.passed."""

    def close(self) -> None:
        """See Barrier.close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """
    What an engine promises where nothing more special is said, and how patient it is.

    Attributes:
        is_replicated: Whether the bucket must hold what it acknowledges.
        timeout_s: After how long callers are told that this could not be proven.
        fails: Whether they are given an error then; otherwise they wait on.
    """

    is_replicated: bool = False
    timeout_s: float = 30.0
    fails: bool = True


def read_replication(
    durability: str, timeout: timedelta | float, on_timeout: str
) -> Replication:
    """
    Return what was asked for.

    Raises:
        ConfigError: It makes no sense.
    """
    if on_timeout not in _ON_TIMEOUT:
        raise ConfigError(
            f"on_replication_timeout={on_timeout!r} is not known", hint="use 'fail' or 'wait'"
        )
    timeout_s = seconds(timeout)
    if not timeout_s > 0:
        raise ConfigError(f"replication_timeout={timeout!r} is not a number above 0")
    return Replication(
        is_replicated=bool(read_durability(durability)),
        timeout_s=timeout_s,
        fails=on_timeout == "fail",
    )


def read_durability(given: str | None) -> bool | None:
    """
    Return whether ``replicated`` is asked for; None where nothing is.

    Raises:
        ConfigError: It is neither.
    """
    if given is None:
        return None
    if given not in _DURABILITIES:
        raise ConfigError(
            f"durability={given!r} is not known", hint="use 'local' or 'replicated'"
        )
    return given == REPLICATED
