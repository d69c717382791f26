"""One scenario, died in at every commit: the answer must be the same each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from obelisk_ops.testing.engine import EngineForTests
from obelisk_ops.testing.showing import show_engine

R = TypeVar("R")

_COMMITS_MAX = 200


async def crash_everywhere(
    make_engine: Callable[[], EngineForTests],
    scenario: Callable[[EngineForTests], Awaitable[R]],
    *,
    most: int = _COMMITS_MAX,
) -> R:
    """
    Run a scenario undisturbed, and then with a death before and after each commit.

    Each run has an engine of its own. The value of the first is what all others must have.

    Args:
        make_engine: Returns a new engine, as the fixture of this name does.
        scenario: Submits, moves ``engine.clock``, signals, and returns what counts.
        most: Commits to die at; the first ones.

    Raises:
        AssertionError: With a death the scenario failed, or answered something else.
    """
    async with make_engine() as engine:
        wanted = await scenario(engine)
        commits = min(engine.commits, most)
    for which in range(1, commits + 1):
        for is_before in (True, False):
            place = f"with a crash {'before' if is_before else 'after'} commit {which}"
            async with make_engine() as engine:
                (engine.crash_before if is_before else engine.crash_after)(which)
                try:
                    found = await scenario(engine)
                except Exception as error:
                    error.add_note(f"{place}\n{show_engine(engine)}")
                    raise
                if found != wanted:
                    raise AssertionError(
                        f"{place} the scenario answered {found!r}, not {wanted!r}\n"
                        f"{show_engine(engine)}"
                    )
    return wanted
