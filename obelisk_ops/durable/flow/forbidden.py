"""What workflow code must not call, and what to call instead."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from random import Random, SystemRandom
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

from obelisk_ops.durable.flow.rng import ReplayRandom


class Rule(NamedTuple):
    """
    One function that must not be called.

    Attributes:
        name: As people write it.
        instead: What to do.
        is_deep: Whether it also counts when code of others calls it for the workflow: a
            library may read the clock for reasons of its own, but when it opens a
            connection or sleeps, it does so for who called it.
        applies: Told the frame of the call; None when every call counts.
    """

    name: str
    instead: str
    is_deep: bool = False
    applies: Callable[[Any], bool] | None = None


_NOW, _RANDOM, _UUID, _SLEEP = "use now()", "use random()", "use uuid4()", "use sleep()"
_ACTIVITY = "do it in an activity"

#: module, names, what to do
_SHALLOW: tuple[tuple[str, str, str], ...] = (
    ("time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns", _NOW),
    ("time", "process_time process_time_ns thread_time thread_time_ns", _NOW),
    ("datetime", "datetime.now datetime.utcnow datetime.today date.today", _NOW),
    ("random", "random getrandbits randbytes", _RANDOM),
    ("os", "urandom getrandom", _RANDOM),
    ("secrets", "token_bytes token_hex token_urlsafe randbelow", _RANDOM),
    ("uuid", "uuid1 uuid4 uuid6 uuid7", _UUID),
    ("threading", "Event.wait Barrier.wait", _ACTIVITY),
    ("concurrent.futures", "Future.result wait", _ACTIVITY),
    ("builtins", "open", _ACTIVITY),
    ("os", "open stat listdir scandir walk mkdir makedirs", _ACTIVITY),
    ("os", "remove unlink rename replace rmdir", _ACTIVITY),
    ("os.path", "exists isfile isdir getsize getmtime", _ACTIVITY),
    ("pathlib", "Path.open Path.read_text Path.read_bytes", _ACTIVITY),
    ("pathlib", "Path.write_text Path.write_bytes Path.touch Path.mkdir", _ACTIVITY),
    ("pathlib", "Path.exists Path.is_file Path.is_dir Path.stat", _ACTIVITY),
    ("pathlib", "Path.iterdir Path.glob Path.rglob", _ACTIVITY),
    ("pathlib", "Path.rmdir Path.unlink Path.rename Path.replace", _ACTIVITY),
    ("shutil", "copy copy2 copyfile copytree move rmtree", _ACTIVITY),
    ("sqlite3", "connect", _ACTIVITY),
)
_DEEP: tuple[tuple[str, str, str], ...] = (
    ("time", "sleep", _SLEEP),
    ("threading", "Thread.start", _ACTIVITY),
    ("_thread", "start_new_thread start_joinable_thread", _ACTIVITY),
    ("concurrent.futures.thread", "ThreadPoolExecutor.submit", _ACTIVITY),
    ("concurrent.futures.process", "ProcessPoolExecutor.submit", _ACTIVITY),
    ("multiprocessing.process", "BaseProcess.start", _ACTIVITY),
    ("subprocess", "Popen.__init__", _ACTIVITY),
    ("_posixsubprocess", "fork_exec", _ACTIVITY),
    ("os", "system fork forkpty posix_spawn posix_spawnp", _ACTIVITY),
    ("socket", "socket.__init__ create_connection getaddrinfo gethostbyname", _ACTIVITY),
)

#: what goes over a connection that was opened before
_OF_SOCKETS = frozenset(
    {"accept", "bind", "connect", "connect_ex", "listen", "read", "recv", "recv_into",
     "recvfrom", "send", "sendall", "sendmsg", "sendto", "write"}
)  # fmt: skip


class Rules:
    """All rules, by what an interpreter sees of a call. Only of modules that are loaded."""

    def __init__(self) -> None:
        self.builtins: dict[Any, Rule] = {}
        self.codes: dict[int, Rule] = {}
        self._kept = [*_listed(), *_methods_of_random()]  # an id is of what still lives
        for found, rule in self._kept:
            if isinstance(found, BuiltinFunctionType):
                self.builtins[found] = rule
            elif isinstance(found, FunctionType):
                self.codes[id(found.__code__)] = rule
        self.sockets = frozenset(_socket_types())

    @staticmethod
    def of_socket(method: Any) -> Rule | None:  # noqa: ANN401 - a bound method
        """Return the rule for a method of a socket."""
        if method.__name__ not in _OF_SOCKETS:
            return None
        return Rule(f"socket.{method.__name__}()", _ACTIVITY, is_deep=True)


def _listed() -> Iterator[tuple[object, Rule]]:
    for table, is_deep in ((_SHALLOW, False), (_DEEP, True)):
        for place, names, instead in table:
            for name in names.split():
                yield _find(place, name), Rule(_shown(place, name), instead, is_deep)


def _find(place: str, name: str) -> object:
    found: object = sys.modules.get(place)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _shown(place: str, name: str) -> str:
    name = name.removesuffix(".__init__")
    return f"{name}()" if place == "builtins" else f"{place.lstrip('_')}.{name}()"


def _methods_of_random() -> Iterator[tuple[object, Rule]]:
    """The functions of ``random`` are methods of a hidden instance; a seeded one is fine."""
    yield (
        Random.__init__,
        Rule("random.Random() without a seed", _RANDOM, applies=_is_unseeded),
    )
    for kind in (Random, SystemRandom):
        for name, found in vars(kind).items():
            if not name.startswith("_"):
                rule = Rule(f"random.{name}()", _RANDOM, applies=_is_of_the_module)
                yield found, rule


def _is_unseeded(frame: Any) -> bool:  # noqa: ANN401 - a frame
    known = frame.f_locals
    return known.get("x") is None and not isinstance(known.get("self"), ReplayRandom)


def _is_of_the_module(frame: Any) -> bool:  # noqa: ANN401 - a frame
    own = frame.f_locals.get("self")
    return own is _hidden_instance or isinstance(own, SystemRandom)


_hidden_instance = getattr(random.randint, "__self__", None)


def _socket_types() -> Iterator[type]:
    for place, name in (
        ("socket", "socket"), ("ssl", "SSLSocket"), ("_ssl", "_SSLSocket"),
        ("_socket", "socket"),
    ):  # fmt: skip
        found = _find(place, name)
        if isinstance(found, type):
            yield found
