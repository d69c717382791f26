"""Queues of activities, as a user describes them: ``Queue("gpu", concurrency=2)``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from obelisk_ops.core.durations import parse_duration
from obelisk_ops.core.retry import as_duration
from obelisk_ops.durable.flow.options import is_queue_name
from obelisk_ops.errors import ConfigError, InvalidInput


@dataclass(frozen=True, slots=True)
class Queue:
    """
    A queue that an engine serves, and how much of it at a time.

    Attributes:
        name: What activities call it.
        concurrency: How many of its attempts run at the same time; no limit by default.
        rate: How many of its attempts start within any period of the length ``per``.
        per: That length; a number counts seconds.
    """

    name: str
    concurrency: int | None = field(default=None, kw_only=True)
    rate: int | None = field(default=None, kw_only=True)
    per: timedelta | float = field(default=timedelta(seconds=1), kw_only=True)

    def __post_init__(self) -> None:
        """
        Refuse limits that make no sense.

        Raises:
            ConfigError: The name is none, or a limit is not positive.
        """
        if not is_queue_name(self.name):
            raise ConfigError(
                f"{self.name!r} cannot name a queue", hint="use letters, digits, '-', '_', '.'"
            )
        for key in ("concurrency", "rate"):
            value: object = getattr(self, key)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(
                    f"queue {self.name}: {key} is a whole number from 1, not {value!r}"
                )
        try:
            per = as_duration(self.per, "per")
        except InvalidInput as error:
            raise ConfigError(f"queue {self.name}: {error.message}") from error
        if per < timedelta(milliseconds=1):
            raise ConfigError(f"queue {self.name}: per is at least a millisecond")
        object.__setattr__(self, "per", per)

    @property
    def per_ms(self) -> int:
        """Return the length of the period of ``rate``, milliseconds."""
        per = self.per
        assert isinstance(per, timedelta)
        return round(per.total_seconds() * 1000)


def parse_queue(text: str) -> Queue:
    """
    Read ``NAME``, ``NAME=2`` (at the same time) or ``NAME=10/1m`` (starts in any minute).

    Raises:
        InvalidInput: It is none of these.
        ConfigError: The limit makes no sense.
    """
    name, equals, limit = text.partition("=")
    if not equals:
        return Queue(name)
    count, slash, per = limit.partition("/")
    if not count.isdecimal():
        raise InvalidInput(f"{text!r} is no queue", hint="write NAME, NAME=2 or NAME=10/1m")
    if not slash:
        return Queue(name, concurrency=int(count))
    try:
        return Queue(name, rate=int(count), per=parse_duration(per))
    except ValueError as error:
        raise InvalidInput(
            f"{text!r}: {per!r} is {error}", hint="write NAME, NAME=2 or NAME=10/1m"
        ) from error


def read_queues(given: Iterable[str | Queue]) -> tuple[Queue, ...]:
    """
    Return the queues that ``Engine(queues=…)`` names.

    Raises:
        ConfigError: They are not a list of names and queues, or one is there twice.
    """
    if isinstance(given, str | Queue):
        raise ConfigError(f"queues={given!r} is no list", hint=f"write queues=({given!r},)")
    queues = tuple(item if isinstance(item, Queue) else Queue(item) for item in given)
    names = [queue.name for queue in queues]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"the queue {twice[0]!r} is named twice")
    return queues
