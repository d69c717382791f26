"""The pytest plugin: what failures show, other plugins, and the page that explains it."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from tests.documents import blocks
from tests.projects import FLOWS, PLUGIN, run_tests

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(shop=FLOWS)
    return pytester


def test_a_scenario_that_a_crash_changes_is_found(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        lives = []

        @activity
        async def count() -> int:
            lives.append(1)
            return len(lives)

        @workflow
        async def counts() -> int:
            return await count() + await count()

        async def test_it(make_engine):
            async def scenario(engine):
                lives.clear()
                return await (await engine.submit(counts, id="c")).result()

            await crash_everywhere(make_engine, scenario)
        """,
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "*AssertionError: with a crash before commit 2 the scenario answered 5, not 3",
            "E*v1*",
        ]
    )


def test_a_test_that_would_hang_says_why(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        import asyncio

        async def test_sleeps(make_engine):
            async with make_engine(patience=0.2) as engine:
                with engine.stubbed(fetch, returns=1):
                    await (await engine.submit(order, 2, id="o")).result()

        async def test_an_activity_that_does_not_end(make_engine, clock):
            async with make_engine(patience=0.2) as engine:
                engine.replace(fetch, lambda n: asyncio.Event().wait())
                await engine.submit(order, 2, id="o")
                await clock.advance(days=1)

        async def test_nothing_is_due(engine, clock):
            await clock.advance_to_next()
        """,
    )
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines(
        [
            "E *execution 'o' does not end by itself:",
            "E *call 2 waits until 2026-01-02T00:00:00.000Z; the clock*await clock.advance*",
            "E *did not come to rest within 0.2 s: does an activity wait for the test?*",
            "E *no timer is set and no retry is due: time changes nothing",
        ]
    )


def test_a_failure_shows_the_logs(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        async def test_it(engine, clock):
            handle = await engine.submit(order, 2, id="o")
            await clock.advance(days=2)
            assert_events(handle, ["created", ("intended", {"fn": "shop.buy"}), ...])
        """,
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "E *the log is not as expected*",
            "E *v0 created",
            'E *- intended with {"fn":"shop.buy"}',
            'E *+ v1 intended {"n":1,"fn":"shop.fetch"*',
            "*executions of this test*",
            "o (shop.order) is finished ok",
            "*v0   +0s created*",
        ]
    )


def test_sync_tests_and_other_engines(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        import asyncio

        def test_sync(engine, clock):
            async def main():
                async with engine:
                    handle = await engine.submit(order, 2)
                    await clock.advance(days=2)
                    return await handle.result()

            assert asyncio.run(main()) == 42

        async def test_two(make_engine, clock):
            async with make_engine() as one, make_engine() as other:
                assert one.path != other.path
                handles = [await e.submit(order, 2, id="o") for e in (one, other)]
                await clock.advance(days=2)
                assert [await handle.result() for handle in handles] == [42, 42]

        class TestInAClass:
            async def test_method(self, engine):
                assert engine.list() == []

        async def test_without_the_fixtures():
            pass
        """,
    )
    done.assert_outcomes(passed=3, failed=1)  # the last is nobody's: as without the plugin


def test_a_project_with_an_engine_of_its_own(project: pytest.Pytester) -> None:
    project.makeconftest("import pytest\n@pytest.fixture\ndef engine(): return 'a database'\n")
    done = run_tests(
        project,
        """
        def test_mine(engine):
            assert engine == "a database"

        async def test_both(engine, make_engine):
            async with make_engine() as durable:
                assert engine == "a database" and durable.list() == []
        """,
    )
    done.assert_outcomes(passed=2)


def test_another_plugin_runs_its_own_tests(project: pytest.Pytester) -> None:
    """As pytest-asyncio does: it makes the function a plain one when the test is run."""
    project.makeconftest("""
        import asyncio, pytest

        def pytest_configure(config):
            config.addinivalue_line("markers", "mine: run by this plugin")

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):
            if pyfuncitem.get_closest_marker("mine"):
                names = pyfuncitem._fixtureinfo.argnames
                args = {name: pyfuncitem.funcargs[name] for name in names}
                with asyncio.Runner() as runner:
                    runner.run(pyfuncitem.obj(**args))
                print("run by mine")
                return True
    """)
    done = run_tests(
        project,
        """
        @pytest.mark.mine
        async def test_it(engine, clock):
            handle = await engine.submit(order, 2)
            await clock.advance(days=2)
            assert await handle.result() == 42
        """,
        "-s",
    )
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*run by mine*"])


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    found = import_module(project["entry-points"]["pytest11"]["obelisk_ops"])

    assert {"engine", "clock", "make_engine", "crash_after"} <= vars(found).keys()


def test_the_how_to_works(pytester: pytest.Pytester) -> None:
    page = ROOT / "docs" / "how-to" / "test-workflows.md"
    tests = [block for block in blocks(page) if block.language == "python" and block.file]
    for block in tests:
        pytester.path.joinpath(block.file or "").write_text(block.text)

    done = pytester.runpytest(*PLUGIN)

    assert len(tests) >= 5
    done.assert_outcomes(passed=sum(block.text.count("def test_") for block in tests))
