"""When a failed attempt is tried again: a policy as data, and the one decision about it."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import overload

from obelisk_ops.errors import InvalidInput, NotSerialisable, OutcomeUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """
    How often, and how long to wait between attempts.

    Attributes:
        max_attempts: Attempts in all, the first one included.
        initial: The wait after the first failure.
        factor: What the wait is multiplied by after each further failure.
        maximum: The longest wait.
        jitter: Share of the wait that is random, 0 to 1: the wait is drawn from
            ``wait * (1 ± jitter)``, and still never longer than ``maximum``.
        give_up_on: Exception classes that end the activity at once.
    """

    max_attempts: int = 5
    initial: timedelta = timedelta(milliseconds=100)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=1)
    jitter: float = 0.1
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        """
        Refuse a policy that makes no sense.

        Raises:
            InvalidInput: A field is out of its range.
        """
        for name in ("initial", "maximum"):
            object.__setattr__(self, name, as_duration(getattr(self, name), name))
        wrong = [
            text
            for is_wrong, text in (
                (self.max_attempts < 1, "max_attempts is at least 1"),
                (self.initial < timedelta(0), "initial is not negative"),
                (self.factor < 1, "factor is at least 1"),
                (self.maximum < timedelta(0), "maximum is not negative"),
                (not 0 <= self.jitter <= 1, "jitter is between 0 and 1"),
            )
            if is_wrong
        ]
        if wrong:
            raise InvalidInput(f"Retry: {'; '.join(wrong)}")


@overload
def as_duration(value: timedelta | float, name: str = ...) -> timedelta: ...
@overload
def as_duration(value: timedelta | float | None, name: str = ...) -> timedelta | None: ...
def as_duration(value: timedelta | float | None, name: str = "timeout") -> timedelta | None:
    """
    Return a duration; a number counts seconds.

    Raises:
        InvalidInput: It is neither, or negative.
    """
    if value is None:
        return None
    found: object = value
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):  # not a number, or endless
            found = timedelta(seconds=value)
    if not isinstance(found, timedelta) or found < timedelta(0):
        raise InvalidInput(
            f"{name}: {value!r} is no duration", hint="give a timedelta, or a number of seconds"
        )
    return found


#: for ``@activity`` without a policy: five attempts within about two seconds
DEFAULT = Retry()
NEVER = Retry(max_attempts=1)


#: another attempt would fail in the same way, or must not be made
_FINAL = (NotSerialisable, InvalidInput, OutcomeUnknown)


def wait_ms(policy: Retry, failures: int, error: BaseException, draw: float) -> int | None:
    """
    Return how long to wait before the next attempt, or None to give up.

    Args:
        policy: The policy in force.
        failures: Failed attempts so far, this one included. Attempts that a
            crash of the process cut short are no failures of the activity.
        error: What the attempt raised.
        draw: A random number in [0, 1) for the jitter.
    """
    if failures >= policy.max_attempts or isinstance(error, _FINAL):
        return None
    if isinstance(error, policy.give_up_on):
        return None
    maximum = policy.maximum.total_seconds()
    wait = min(_backoff_s(policy, failures), maximum)
    return round(1000 * min(wait * (1 + policy.jitter * (2 * draw - 1)), maximum))


def _backoff_s(policy: Retry, failures: int) -> float:
    initial = policy.initial.total_seconds()
    try:
        return initial * policy.factor ** (failures - 1) if initial else 0
    except OverflowError:
        return math.inf
