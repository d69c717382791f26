"""Options whose values are written in a form of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import click

from obelisk_ops.core.durations import parse_duration
from obelisk_ops.core.words import parse_size
from obelisk_ops.errors import InvalidInput, UsageError
from obelisk_ops.settings import RestoreSettings, Settings


class _Limit(click.IntRange):
    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return a number from 1; no more than SQLite can count."""
        return int(min(super().convert(value, param, ctx), 2**53))


#: How much is shown.
LIMIT: Final = _Limit(1)

_RATE = "obelisk_ops.rate"


def not_together(**given: object) -> None:
    """
    Refuse options of which one would be ignored; each is named as its parameter.

    Raises:
        UsageError: More than one of them is given.
    """
    names = [f"--{name.strip('_').replace('_', '-')}" for name, value in given.items() if value]
    if len(names) > 1:
        raise UsageError(
            f"{names[0]} and {names[1]} do not go together", hint="leave one of them out"
        )


def only_with(other: str, is_given: object, **given: object) -> None:
    """
    Refuse options that mean nothing without another one.

    Raises:
        UsageError: One of them is given without it.
    """
    for name, value in given.items():
        if value and not is_given:
            option = f"--{name.strip('_').replace('_', '-')}"
            raise UsageError(f"{option} means nothing without {other}", hint=f"add {other}")


def duration_option(
    _ctx: click.Context, param: click.Parameter, value: str | None
) -> float | None:
    """
    Return the seconds that an option names, such as ``10m``; None without it.

    Raises:
        InvalidInput: It is no duration.
    """
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as wrong:
        unit = f"for seconds write {value}s; " if value.isdecimal() else ""
        meaning = getattr(param, "help", None) or "see --help"
        raise InvalidInput(
            f"{param.opts[0]} {value!r}: {wrong}", hint=f"{unit}{param.opts[0]} is: {meaning}"
        ) from None


def span_option(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """
    Return the seconds that an option names, in which something is to be done.

    Raises:
        InvalidInput: It is no duration, or none at all.
    """
    seconds = duration_option(ctx, param, value)
    if seconds == 0:
        raise InvalidInput(
            f"{param.opts[0]} {value}: nothing can be done in no time", hint="write it like 10m"
        )
    return seconds


def seconds_option(_ctx: click.Context, param: click.Parameter, value: float) -> float:
    """
    Return a number of seconds, from 0.

    Raises:
        InvalidInput: It is negative, or no number that can be waited for.
    """
    if not math.isfinite(value) or value < 0:
        raise InvalidInput(
            f"{param.opts[0]} {value:g}: no time to wait", hint="seconds, from 0"
        )
    return value


def size_option(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """
    Return the bytes that an option names, such as ``500MiB``; None without it.

    Raises:
        InvalidInput: It is no size.
    """
    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as wrong:
        raise InvalidInput(f"{param.opts[0]} {value!r} is {wrong}") from None


def _keep_rate(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta[_RATE] = size_option(ctx, param, value)


#: Holds for what ``with_rate`` returns, and is no argument of the command.
rate_option = click.option(
    "--rate", callback=_keep_rate, expose_value=False, metavar="SIZE",
    help="Read no more than this in a second, such as 10MiB; else restore.rate of the "
    "configuration.",
)  # fmt: skip


def given_rate() -> int | None:
    """Return what ``--rate`` says; None without it."""
    rate: int | None = click.get_current_context().meta.get(_RATE)
    return rate


def with_rate(settings: Settings) -> Settings:
    """Return the configuration with what ``--rate`` says, if it says anything."""
    rate = given_rate()
    return replace(settings, restore=RestoreSettings(rate=rate)) if rate else settings
