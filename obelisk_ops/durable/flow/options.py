"""How attempts of an activity are made, checked when it is written down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, TypedDict

from obelisk_ops.core.barrier import Durability
from obelisk_ops.core.retry import DEFAULT, NEVER, Retry, as_duration
from obelisk_ops.errors import InvalidInput

DEFAULT_QUEUE = "default"
Isolation = Literal["thread", "process"]

_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PRIORITY_MAX = 1_000_000


class Given(TypedDict, total=False):
    """Options as they are written; None means: as it was."""

    retry: Retry | None
    timeout: timedelta | float | None
    heartbeat_timeout: timedelta | float | None
    queue: str | None
    priority: int | None
    at_most_once: bool | None
    overlap: bool | None
    isolation: Isolation | None
    durability: Durability | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityOptions:
    """
    How attempts of an activity are made.

    Attributes:
        retry: When a failed attempt is tried again; None for the default.
        timeout: How long one attempt may take.
        heartbeat_timeout: How long one may be silent.
        queue: Which queue its attempts wait in.
        priority: Who goes first in that queue: the higher one.
        at_most_once: Never run again unless an attempt itself reported that it failed.
        overlap: Whether a retry may start while the thread of a given-up attempt runs on.
        isolation: ``process`` for a child process that can be killed.
        durability: ``replicated`` when the bucket must hold what is known of its attempts;
            None for what its workflow says.
    """

    retry: Retry | None = None
    timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    at_most_once: bool = False
    overlap: bool = False
    isolation: Isolation = "thread"
    durability: Durability | None = None

    @property
    def policy(self) -> Retry:
        """
        Return the policy in force.

        At most once means one attempt, unless a policy was asked for besides: then what
        the function itself reports as failed is tried again.
        """
        return self.retry or (NEVER if self.at_most_once else DEFAULT)

    def changed(
        self, name: str, given: Given, *, is_async: bool, is_local: bool = False
    ) -> ActivityOptions:
        """
        Return these options with those that are *given*, for the activity *name*.

        Args:
            name: What the activity is known as.
            given: What is to be changed.
            is_async: Whether it is an ``async def``.
            is_local: Whether it was defined in a function, where nobody else finds it.

        Raises:
            InvalidInput: One makes no sense, or two contradict each other.
        """
        new = {key: value for key, value in given.items() if value is not None}
        for key in ("timeout", "heartbeat_timeout"):
            if key in new:
                new[key] = as_duration(new[key], key)  # type: ignore[call-overload]
        changed = replace(self, **new)  # type: ignore[arg-type]
        wrong = list(_wrong(changed)) or list(
            _impossible(changed, is_async=is_async, is_local=is_local)
        )
        if wrong:
            raise InvalidInput(f"activity {name}: {'; '.join(wrong)}")
        return changed


def _wrong(options: ActivityOptions) -> Iterator[str]:
    retry: object = options.retry  # whatever somebody wrote
    priority: object = options.priority
    checks = (
        (retry is None or isinstance(retry, Retry), "retry", "a Retry(…)"),
        (options.timeout != timedelta(0), "timeout", "more than 0"),
        (options.heartbeat_timeout != timedelta(0), "heartbeat_timeout", "more than 0"),
        (is_queue_name(options.queue), "queue", "a name of letters, digits, '-', '_' and '.'"),
        (
            type(priority) is int and abs(priority) <= _PRIORITY_MAX,
            "priority", f"a whole number up to {_PRIORITY_MAX}",
        ),
        (type(options.at_most_once) is bool, "at_most_once", "True or False"),
        (type(options.overlap) is bool, "overlap", "True or False"),
        (options.isolation in ("thread", "process"), "isolation", "'thread' or 'process'"),
        (
            options.durability in (None, "local", "replicated"),
            "durability", "'local' or 'replicated'",
        ),
    )  # fmt: skip
    for is_right, key, what in checks:
        if not is_right:
            yield f"{key} is {what}, not {getattr(options, key)!r}"


def _impossible(options: ActivityOptions, *, is_async: bool, is_local: bool) -> Iterator[str]:
    if is_local and options.isolation == "process":
        yield "isolation='process' needs a function at the top of a module"
    if is_async and options.isolation == "process":
        yield "isolation='process' is for 'def'; an 'async def' runs on the loop"
    if is_async and options.overlap:
        yield "overlap is for 'def'; an 'async def' is cancelled, and leaves nothing behind"
    if options.overlap and options.isolation == "process":
        yield "overlap is for threads; a process is killed, and leaves nothing behind"
    if options.overlap and options.at_most_once:
        yield "at_most_once and overlap contradict each other"


def is_queue_name(name: object) -> bool:
    """Tell whether a queue may have this name."""
    return isinstance(name, str) and _QUEUE_NAME.fullmatch(name) is not None
