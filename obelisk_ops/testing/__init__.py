"""For tests of workflows: an engine, a clock to move, crashes, stand-ins, replay, checks."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obelisk_ops.testing.checks import (
        ActivityCall,
        activities_called,
        activity_calls,
        assert_events,
    )
    from obelisk_ops.testing.clock import MovableClock
    from obelisk_ops.testing.crashing import Crashed
    from obelisk_ops.testing.engine import EngineForTests
    from obelisk_ops.testing.everywhere import crash_everywhere
    from obelisk_ops.testing.replaying import Replayed, replay
    from obelisk_ops.testing.standins import StandIn

# pytest loads the plugin in every run of every project where this package is installed:
# nothing is imported before a test asks for it.
_HOMES = {
    "ActivityCall": "checks",
    "activities_called": "checks",
    "activity_calls": "checks",
    "assert_events": "checks",
    "MovableClock": "clock",
    "Crashed": "crashing",
    "EngineForTests": "engine",
    "crash_everywhere": "everywhere",
    "Replayed": "replaying",
    "replay": "replaying",
    "StandIn": "standins",
}

__all__ = [
    "ActivityCall",
    "Crashed",
    "EngineForTests",
    "MovableClock",
    "Replayed",
    "StandIn",
    "activities_called",
    "activity_calls",
    "assert_events",
    "crash_everywhere",
    "replay",
]


if not TYPE_CHECKING:  # else a checker would believe in every name

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{home}"), name)
