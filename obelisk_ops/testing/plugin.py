"""
The pytest plugin; loaded by its entry point in every project that has this package.

A test that uses the fixtures and is an ``async def`` runs with no other plugin installed;
pytest-asyncio and anyio are left in charge of the tests that are theirs. Engines that
come from the fixtures are started in the test's own loop, and closed with it.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from obelisk_ops.testing.clock import MovableClock
    from obelisk_ops.testing.engine import EngineForTests

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
_SHOWN = pytest.StashKey[list[str]]()
_FIXTURES = {"engine", "make_engine", "clock", "crash_after"}


@pytest.fixture
def clock() -> MovableClock:
    """A clock that stands still until ``await clock.advance(days=2)`` moves it."""
    from obelisk_ops.testing.clock import MovableClock  # noqa: PLC0415 - see the module

    return MovableClock()


@pytest.fixture
def make_engine(clock: MovableClock) -> Iterator[Callable[..., EngineForTests]]:
    """What returns a new engine on a file of its own, to be entered: ``async with``."""
    from obelisk_ops.testing.engine import EngineForTests  # noqa: PLC0415 - see the module

    folder = Path(tempfile.mkdtemp(prefix="obelisk-ops-", dir=_folder()))
    made = 0

    def make(database: str | Path | None = None, **options: Any) -> EngineForTests:  # noqa: ANN401
        nonlocal made
        made += 1
        options = {"clock": clock} | options
        return EngineForTests(database or folder / f"test-{made}.db", **options)

    try:
        yield make
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def engine(make_engine: Callable[..., EngineForTests]) -> EngineForTests:
    """An engine on a file of its own and on ``clock``; started, if the test is async."""
    return make_engine()


@pytest.fixture
def crash_after(engine: EngineForTests) -> Callable[..., None]:
    """Let ``engine`` die after a commit and start again: ``crash_after(3)``."""
    return engine.crash_after


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Start the engines of an async test inside it, whoever runs it."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        engines: list[Any] = [value for value in item.funcargs.values() if _is_engine(value)]
        if engines:
            item.obj = _inside(item.obj, engines, item)
    return (yield)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test that uses the fixtures, unless another plugin has made it its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    if not _FIXTURES.intersection(pyfuncitem.fixturenames):
        return None
    import asyncio  # noqa: PLC0415 - see the module

    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - as pytest's own caller does
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the engines of a failed test held."""
    report = yield
    if call.when == "call" and report.failed:
        for text in item.stash.get(_SHOWN, []):
            report.sections.append(("executions of this test", text))
    return report


def _inside(
    test: Callable[..., Awaitable[None]], engines: list[EngineForTests], item: pytest.Item
) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def started(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the test's own
        async with AsyncExitStack() as stack:
            for engine in engines:
                await stack.enter_async_context(engine)
            try:
                await test(*args, **kwargs)
            except BaseException:
                item.stash[_SHOWN] = [_shown(engine) for engine in engines]
                raise

    return started


def _is_engine(value: object) -> bool:
    module = sys.modules.get("obelisk_ops.testing.engine")
    return module is not None and isinstance(value, module.EngineForTests)


def _shown(engine: EngineForTests) -> str:
    from obelisk_ops.testing.showing import show_engine  # noqa: PLC0415 - see the module

    try:
        return show_engine(engine)
    except Exception as error:  # noqa: BLE001 - the test's own failure is what counts
        return f"it cannot be read: {error}"


def _folder() -> Path | None:
    return _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
