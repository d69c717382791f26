"""The pytest plugin as a user's project sees it: fixtures, failures, other plugins."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

import obelisk_ops.storage.sqlite.store  # before the inner runs, which then share it
import obelisk_ops.testing.engine  # noqa: F401

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

#: by its module, not by its entry point: the installation may be older than the code
PLUGIN = (
    "-p", "no:obelisk_ops", "-p", "obelisk_ops.testing.plugin",
    "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist",
)  # fmt: skip

FLOWS = """
from datetime import timedelta
from obelisk_ops import Retry, activity, sleep, workflow

PATIENT = Retry(max_attempts=3, initial=timedelta(hours=1), jitter=0)

@activity(retry=PATIENT)
async def fetch(n: int) -> int:
    if activity.attempt() < 3:
        raise ConnectionError("away")
    return n

@activity
def charge(n: int) -> int:
    return 10 * n

careful = charge.options(retry=PATIENT)

@workflow
async def order(n: int) -> int:
    fetched = await fetch(n)
    await sleep(timedelta(days=1))
    return fetched + await charge(n) + await careful(n)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(shop=FLOWS)
    return pytester


def run_tests(project: pytest.Pytester, text: str, *args: str) -> pytest.RunResult:
    head = "import pytest\nfrom shop import *\nfrom obelisk_ops.testing import *\n"
    project.makepyfile(test_shop=head + dedent(text))
    return project.runpytest(*PLUGIN, *args)


def test_days_go_by_in_no_time(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        async def test_order(engine, clock):
            begun = clock.now()
            handle = await engine.submit(order, 2)
            await clock.advance(hours=1)
            assert activities_called(handle) == ["fetch"]
            await clock.advance(days=2)
            assert await handle.result() == 42
            assert clock.now() - begun == timedelta(days=2, hours=1)
            assert activities_called(handle) == ["fetch", "charge", "charge"]
            assert_events(handle, [
                "created", ("intended", {"fn": "shop.fetch", "in": [2]}), "attempt_failed", ...,
                "returned", "timer_set", "timer_fired", ..., ("finished", {"ok": 42}),
            ])
        """,
    )
    done.assert_outcomes(passed=1)


def test_timers_fire_one_after_the_other(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        from obelisk_ops import now

        @workflow
        async def hourly() -> list[str]:
            out = []
            for _ in range(3):
                await sleep(timedelta(hours=1))
                out.append(now().isoformat())
            return out

        async def test_hourly(engine, clock):
            handle = await engine.submit(hourly)
            assert await clock.advance_to_next() == clock.now()
            await clock.advance(days=1)
            times = [text[11:16] for text in await handle.result()]
            assert times == ["01:00", "02:00", "03:00"]

        async def test_a_jump_is_no_going_by(engine, clock):
            handle = await engine.submit(hourly)
            await clock.jump(timedelta(hours=2))
            await clock.jump(timedelta(hours=-5))
            with pytest.raises(ValueError, match="cannot go back"):
                await clock.advance(hours=-1)
            await clock.advance(days=1)
            times = [text[11:16] for text in await handle.result()]
            assert times == ["02:00", "03:00", "04:00"]
        """,
    )
    done.assert_outcomes(passed=2)


def test_crashes(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        async def test_at_chosen_commits(engine, clock, crash_after):
            crash_after(1)
            crash_after(1, event="timer_set")
            engine.crash_before(event="timer_fired")
            handle = await engine.submit(order, 2, id="o")
            await clock.advance(days=2)
            await engine.crash()
            assert await handle.result() == 42
            assert engine.crashes == 4

        async def test_everywhere(make_engine):
            async def scenario(engine):
                handle = await engine.submit(order, 2, id="o")
                await engine.clock.advance(days=2)
                return await handle.result()

            assert await crash_everywhere(make_engine, scenario) == 42

        async def test_there_is_no_such_event(engine):
            with pytest.raises(ValueError, match="'done' is no kind of event"):
                engine.crash_after(event="done")
        """,
    )
    done.assert_outcomes(passed=3)


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


def test_stand_ins(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        async def test_stubbed(engine, clock):
            with engine.stubbed(fetch, returns=1), engine.stubbed(charge, returns=5) as charged:
                handle = await engine.submit(order, 2)
                await clock.advance(days=1)
                assert await handle.result() == 11
            assert charged.arguments == [2, 2]
            assert (await engine.submit(order, 3, id="real")).created

        async def test_raises(engine, clock):
            with engine.stubbed(fetch, raises=KeyError("gone")) as fetched:
                handle = await engine.submit(order, 2)
                await clock.advance(days=1)
                with pytest.raises(Exception, match="gone"):
                    await handle.result()
            assert len(fetched.calls) == 3

        async def test_replaced(engine, clock):
            async def cheap(n):
                return 1

            engine.replace(fetch, lambda n: n)
            engine.replace(charge, cheap)
            handle = await engine.submit(order, 2)
            await clock.advance(days=1)
            assert await handle.result() == 4

        def test_they_are_gone():
            assert fetch.function.__name__ == "fetch"
            assert charge.function(2) == careful.function(2) == 20

        async def test_only_activities(engine):
            with pytest.raises(Exception, match="is no activity"):
                engine.replace(order, print)
        """,
    )
    done.assert_outcomes(passed=5)


def test_replay(project: pytest.Pytester) -> None:
    done = run_tests(
        project,
        """
        from obelisk_ops import Nondeterminism

        async def test_export(engine, clock, tmp_path):
            handle = await engine.submit(order, 2, id="o")
            engine.export(handle, tmp_path / "begun.json")
            await clock.advance(days=2)
            engine.export(handle, tmp_path / "done.json")

            done = replay(tmp_path / "done.json", order)
            assert (done.has_finished, done.value, done.asks_for) == (True, 42, [])
            begun = replay(tmp_path / "begun.json", order)
            assert (begun.has_finished, begun.asks_for) == (False, [])
            assert replay(engine.history("o"), order).value == 42

            @workflow(name="shop.order")
            async def changed(n: int) -> int:
                await fetch(n)
                return await charge(n)

            assert replay(tmp_path / "begun.json", changed).asks_for == []
            with pytest.raises(Nondeterminism, match="sleep of 86400 s") as caught:
                replay(tmp_path / "done.json", changed)
            assert "timer_set" in caught.value.__notes__[0]

        def test_what_is_no_history():
            with pytest.raises(Exception, match="no file"):
                replay("missing.json", order)
        """,
    )
    done.assert_outcomes(passed=2)


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
            "E *did not come to rest within 0.2 s: does an activity wait for the test?",
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
            "*obelisk-ops executions*",
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
