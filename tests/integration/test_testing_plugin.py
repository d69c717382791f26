"""The pytest plugin as a user's project sees it: time, crashes, stand-ins, replay."""

from __future__ import annotations

import pytest

from tests.projects import FLOWS, run_tests

pytest_plugins = ["pytester"]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(shop=FLOWS)
    return pytester


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
