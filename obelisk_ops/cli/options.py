"""Options whose values are written in a form of their own."""

from __future__ import annotations

import click

from obelisk_ops.core.durations import parse_duration
from obelisk_ops.core.words import parse_size
from obelisk_ops.errors import InvalidInput


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
        raise InvalidInput(f"{param.opts[0]} {value!r}: {wrong}") from None


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
