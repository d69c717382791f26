"""
Commands that read what others may have written, in a process that may die of it.

The command goes on in a child with limits, from reading to printing. What is left behind
waits for it, and says in words what the child cannot: that it crashed, or took too much.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from obelisk_ops.cli.databases import allow, is_backup, usual_limit_s
from obelisk_ops.cli.endings import status_of
from obelisk_ops.cli.options import size_option, span_option
from obelisk_ops.inspect.apart import in_words
from obelisk_ops.inspect.opening import too_much_memory
from obelisk_ops.objectstore import import_reader
from obelisk_ops.process import apart

F = TypeVar("F", bound=Callable[..., Any])

_MEMORY: Final = "2GiB"
#: A command reads two databases at most.
_READS: Final = 2
_OPTIONS: Final = (
    click.option(
        "--within", callback=span_option, metavar="DURATION",
        help="How long reading may take.  [default: 1m; 10m of a backup in place]",
    ),
    click.option(
        "--memory", callback=size_option, metavar="SIZE", default=_MEMORY, show_default=True,
        help="How much memory what is read may take (Linux).",
    ),
)  # fmt: skip


def confined(command: F) -> F:
    """Run a command that reads the database of its argument ``database`` in a child."""

    @functools.wraps(command)
    def apart_from_us(*args: Any, within: float | None, memory: int, **kwargs: Any) -> None:  # noqa: ANN401
        name = kwargs["database"]
        limit_s = within or usual_limit_s(name)
        allow(within)

        def go_on() -> object:
            try:
                return command(*args, **kwargs)
            except MemoryError:
                raise too_much_memory(name) from None

        if is_backup(name):
            import_reader()  # in the child this could take more than its memory
        limits = apart.Limits(time_s=_READS * limit_s, memory_bytes=memory)
        status = apart.in_front(lambda: status_of(go_on), limits)
        death = apart.death_of(status)
        if death is not None:
            raise in_words(death, name)
        raise click.exceptions.Exit(status)

    for option in reversed(_OPTIONS):
        option(apart_from_us)
    return apart_from_us  # type: ignore[return-value]  # with two options more
