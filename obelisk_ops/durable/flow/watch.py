"""
Catches what makes a workflow different on every run: clocks, chance, threads, network.

A profile function sees every call that the interpreter makes while workflow code is
driven, and only then. It costs time at each call, and nothing where there is no watch. So
it goes on throughout in tests and development, and elsewhere is there while code is new.
"""

from __future__ import annotations

import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from obelisk_ops.durable.flow.forbidden import Rule, Rules
from obelisk_ops.errors import WorkflowMisuse

_HINT = (
    "a workflow is run again from its log, and must then ask for the same: what differs "
    "from run to run comes from now(), random(), uuid4(), sleep() or an activity"
)
_PACKAGE = __name__.partition(".")[0]
_HERE = str(Path(__file__).parents[1])
_STDLIB = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_INSTALLED = ("site-packages", "dist-packages")
#: what is no part of what a workflow does, whatever it calls
_BESIDE = frozenset({"importlib", "logging", "loguru", "structlog", "warnings"})
#: what the engine does for a workflow, among it reading its clock
_HOST = f"{_PACKAGE}.durable.execution"


#: of each workflow so many executions, and of each so many turns
FIRST_EXECUTIONS, _FIRST_TURNS = 10, 100


def is_wanted(strict: bool | None) -> bool:  # noqa: FBT001 - as the engine was told
    """Return *strict*; when it is left open, whether this is a test or development mode."""
    if strict is not None:
        return strict
    return bool(sys.flags.dev_mode) or "_pytest.runner" in sys.modules


class Watching(Protocol):
    """What a machine needs of who watches its code."""

    def run(self, call: Callable[[], None], module: str) -> None:
        """Watch this thread during a call, if it is to be watched."""
        ...


class Glance:
    """Watches the first turns of an execution: mistakes show there, what it costs does not."""

    def __init__(self, watch: Watching, turns: int) -> None:
        self._watch = watch
        self._left = turns

    def run(self, call: Callable[[], None], module: str) -> None:
        """See Watching."""
        if self._left:
            self._left -= 1
            self._watch.run(call, module)
        else:
            call()


class Watches:
    """
    Whose code is watched, in one engine.

    Everybody's all the time, or the first turns of the first executions of each workflow.
    Not what is replayed: what has gone on with a clock for a week is not failed today.
    """

    def __init__(self, watch: Watching, *, is_throughout: bool) -> None:
        self._watch = watch
        self._is_throughout = is_throughout
        self._begun: Counter[str] = Counter()

    def of(self, function: str, *, is_new: bool) -> Watching | None:
        """Return who watches an execution of *function*, if anybody."""
        if self._is_throughout:
            return self._watch
        if not is_new or self._begun[function] == FIRST_EXECUTIONS:
            return None
        self._begun[function] += 1
        return Glance(self._watch, _FIRST_TURNS)


class Watch:
    """Sees the calls of workflow code, and raises at those that are forbidden."""

    def __init__(self, report: Callable[[WorkflowMisuse], None]) -> None:
        """
        Make a watch.

        Args:
            report: Told of each violation before it is raised: code may swallow the
                error, the execution must fail all the same.
        """
        self._report = report
        rules = self._rules = Rules()
        self._builtins, self._codes, self._sockets = rules.builtins, rules.codes, rules.sockets
        self._own: dict[str, bool] = {}
        self._package = ""
        self._base: FrameType | None = None

    def run(self, call: Callable[[], None], module: str) -> None:
        """
        Watch this thread during a call.

        Args:
            call: Drives workflow code.
            module: Where the workflow is from; the code of its top-level package counts
                as its own, even where it is installed.

        A profiler written in Python goes on beside it. One written in C, such as cProfile
        before Python 3.12, cannot: then nothing is watched.
        """
        before: Any = sys.getprofile()
        if not (before is None or callable(before)):
            call()
            return
        outer = self._package, self._base
        self._package, self._base = module.partition(".")[0], sys._getframe()  # noqa: SLF001
        sys.setprofile(self._see if before is None else self._beside(before))
        try:
            call()
        finally:
            sys.setprofile(before)
            self._package, self._base = outer

    def _beside(self, before: Any) -> Any:  # noqa: ANN401 - a profile function
        def see(frame: FrameType, event: str, arg: Any) -> None:  # noqa: ANN401
            before(frame, event, arg)
            self._see(frame, event, arg)

        return see

    def _see(self, frame: FrameType, event: str, arg: Any) -> None:  # noqa: ANN401
        if event == "call":
            rule = self._codes.get(id(frame.f_code))
            if rule is not None and frame.f_back is not None:
                self._check(rule, frame, frame.f_back)
        elif event == "c_call":
            rule = self._builtins.get(arg)
            if rule is None and type(getattr(arg, "__self__", None)) in self._sockets:
                rule = Rules.of_socket(arg)
            if rule is not None:
                self._check(rule, frame, frame)

    def _check(self, rule: Rule, called: FrameType, caller: FrameType) -> None:
        if rule.applies is not None and not rule.applies(called):
            return
        if not rule.is_deep and not self._is_own(caller):
            return
        stack = list(self._stack(caller))
        if any(_is_harmless(frame) for frame in stack):
            return
        own = [frame for frame in stack if self._is_own(frame)]
        if not own:
            return
        # The nearest with a name: an __init__ of a dataclass is in no file.
        at = next((frame for frame in own if not _file(frame).startswith("<")), own[0])
        place = f"{Path(_file(at)).name}, line {at.f_lineno}"
        error = WorkflowMisuse(
            f"{rule.name} cannot be used in a workflow ({place}): {rule.instead}", hint=_HINT
        )
        self._report(error)
        raise error

    def _stack(self, frame: FrameType | None) -> Iterator[FrameType]:
        """Yield a frame and those that led to it, up to the machine."""
        while frame is not None and frame is not self._base:
            yield frame
            frame = frame.f_back

    def _is_own(self, frame: FrameType) -> bool:
        """Tell whether a frame runs code of the workflow's author, not of a library."""
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == self._package:
            return True
        file = _file(frame)
        if file.startswith("<") and not file.startswith("<frozen"):  # made, or typed in
            file = str(frame.f_globals.get("__file__") or file)
        known = self._own.get(file)
        if known is None:
            known = self._own[file] = _is_of_the_author(file)
        return known


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename


def _is_of_the_author(file: str) -> bool:
    if file.startswith(("<frozen", *_STDLIB, _HERE)):
        return False
    return not any(part in _INSTALLED for part in Path(file).parts)


def _is_harmless(frame: FrameType) -> bool:
    """Tell whether this is importing, logging, or the engine at work."""
    module = str(frame.f_globals.get("__name__", ""))
    if _file(frame).startswith("<frozen importlib"):
        return True
    return module == _HOST or module.partition(".")[0] in _BESIDE
