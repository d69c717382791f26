"""
What others ask of an execution: may it be, and is it news?

One set of rules, used twice: by who asks, in the transaction that posts the letter,
and by the owner when it answers. Asking again for what is so already is accepted and
changes nothing, so that a caller who had no answer may ask once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from obelisk_ops.core import events
from obelisk_ops.core.attach import refuse_other_input
from obelisk_ops.core.ports import Letter, State
from obelisk_ops.errors import (
    AlreadyAnswered,
    Conflict,
    ExecutionEnded,
    ExecutionExists,
    ExecutionNotFound,
    NotCancellable,
    StubNotFound,
)

#: letters that make an execution, whose id is their target
MAKING: Final = frozenset({"create", "fork", "import"})
#: letters for executions that exist
REQUESTS: Final = frozenset({"cancel", "pause", "unpause", "signal", "stub"})


class Signal(Struct, omit_defaults=True):
    """
    Body of a ``signal`` letter, and of the inbox row that comes of it.

    Attributes:
        name: Which signal.
        value: JSON.
        id: One with an id that arrived before is accepted and dropped; empty for none.
    """

    name: str
    value: Raw
    id: str = ""


class Answer(Struct, omit_defaults=True):
    """Body of a ``stub`` letter, and of the inbox row: ``ok`` or ``error``."""

    ok: Raw | UnsetType = UNSET
    error: events.Failure | UnsetType = UNSET


class Fork(Struct):
    """Body of a ``fork`` letter: an execution that begins with ``version`` events of ``id``."""

    id: str
    version: int


class Pause(Struct, omit_defaults=True):
    """Body of a ``pause`` letter; ``moved`` when it is to go on in another database."""

    moved: bool = False


class Unpause(Struct, omit_defaults=True):
    """Body of an ``unpause`` letter; ``take_back`` to go on also if it was moved."""

    take_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What is known of an execution when somebody asks for something.

    Attributes:
        state: None when there is no such execution; one that a waiting letter will make
            is pending.
        created: The body of its ``created`` event, where that matters.
        is_paused: Whether it is, by its log.
        is_moved: Whether it goes on in another database, by its log.
        is_cancelling: Whether its log has a request to cancel.
        is_cancellable: Whether its workflow lets itself be cancelled.
        stubs: Numbers of the calls that are stubs.
        cancelled: Numbers of the calls that were cancelled.
        signals: Ids of the signals that arrived.
        answers: What stubs were answered, by the number of the call.
        letters: Those that wait and concern it, oldest first.
    """

    state: State | None = None
    created: str = ""
    is_paused: bool = False
    is_moved: bool = False
    is_cancelling: bool = False
    is_cancellable: bool = True
    stubs: frozenset[int] = frozenset()
    cancelled: frozenset[int] = frozenset()
    signals: frozenset[str] = frozenset()
    answers: Mapping[int, str] = field(default_factory=dict)
    letters: Sequence[Letter] = ()


_encode = msgspec.json.Encoder().encode


def encode(body: Signal | Answer | Fork | Pause | Unpause) -> str:
    """Write the body of a letter."""
    return _encode(body).decode()


_DIGITS = 18


def split_call(call_id: str) -> tuple[str, int]:
    """
    Return the execution and the number that a call's id is made of.

    Raises:
        StubNotFound: It is no id of a call.
    """
    execution_id, _, n = call_id.rpartition("/")
    if not (execution_id and n.isascii() and n.isdecimal() and len(n) <= _DIGITS):
        raise StubNotFound(
            f"{call_id!r} is no id of a call",
            hint="a call's id is EXECUTION/NUMBER; see "
            "'obelisk-ops execution why EXECUTION --db DB'",
        )
    return execution_id, int(n)


def execution_of(kind: str, target: str) -> str:
    """Return the id of the execution that a letter concerns."""
    return split_call(target)[0] if kind == "stub" else target


def is_news(kind: str, target: str, body: str, facts: Facts) -> bool:
    """
    Return whether a request changes anything; False when it is so already.

    Raises:
        ExecutionNotFound: There is no such execution.
        ExecutionExists: It is to be made, and exists with another function or input.
        ExecutionEnded: It is finished.
        NotCancellable: Its workflow does not let itself be cancelled.
        Conflict: It is to be paused, and is being cancelled.
        StubNotFound: It has no such call, or that call is no stub.
        AlreadyAnswered: The stub was answered otherwise, or is not wanted any more.
    """
    rule = _RULES.get(kind)
    return True if rule is None else bool(rule(target, body, facts))


def _create(target: str, body: str, facts: Facts) -> bool:
    if facts.state is None:
        return True
    if not facts.created:
        raise ExecutionExists(f"execution {target!r} is to be made in another way")
    refuse_other_input(target, facts.created, body)
    return False


def _fork(target: str, _body: str, facts: Facts) -> bool:
    return _plant(target, facts, "fork under another id: --id NEW")


def _import(target: str, _body: str, facts: Facts) -> bool:
    return _plant(target, facts, "import into another database")


def _plant(target: str, facts: Facts, hint: str) -> bool:
    if facts.state is not None:
        raise ExecutionExists(f"execution {target!r} exists", hint=hint)
    return True


def _cancel(target: str, _body: str, facts: Facts) -> bool:
    _refuse_ended(target, facts)
    _refuse_moved(target, facts)
    if not facts.is_cancellable:
        raise NotCancellable(
            f"execution {target!r} runs a workflow that does not let itself be cancelled",
            hint="its code says cancellable=False; wait for its end, or pause it",
        )
    if facts.state is State.PARKED:  # its clean-up may be what does not fit
        return not _waiting(facts, "cancel")
    return not (facts.is_cancelling or _waiting(facts, "cancel"))


def _pause(target: str, body: str, facts: Facts) -> bool:
    _refuse_ended(target, facts)
    if facts.is_cancelling or _waiting(facts, "cancel"):
        raise Conflict(f"execution {target!r} is being cancelled", hint="let its clean-up end")
    if msgspec.json.decode(body, type=Pause).moved:
        return not _will_be_moved(facts)
    return not _will_be_paused(facts)


def _unpause(target: str, body: str, facts: Facts) -> bool:
    _refuse_ended(target, facts)
    if not msgspec.json.decode(body, type=Unpause).take_back:
        _refuse_moved(target, facts)
    return _will_be_paused(facts)


def _signal(target: str, body: str, facts: Facts) -> bool:
    name = msgspec.json.decode(body, type=Signal).id
    waiting = _waiting(facts, "signal")
    if name and (name in facts.signals or name in {signal_id(one.body) for one in waiting}):
        return False
    _refuse_ended(target, facts)
    _refuse_moved(target, facts)
    return True


def _stub(target: str, body: str, facts: Facts) -> bool:
    execution_id, n = split_call(target)
    known = facts.answers.get(n)
    waiting = [letter.body for letter in _waiting(facts, "stub") if letter.target == target]
    known = known if known is not None else next(iter(waiting), None)
    if known is not None:
        _refuse_other_answer(target, known, body)
        return False
    _refuse_nobody(execution_id, facts)
    if n not in facts.stubs:
        raise StubNotFound(
            f"call {target!r} is not one that waits for a result from outside",
            hint=f"see what is: obelisk-ops execution why {execution_id} --db DB",
        )
    if n in facts.cancelled:
        raise AlreadyAnswered(f"call {target!r} was cancelled; no result is wanted any more")
    _refuse_ended(execution_id, facts)
    _refuse_moved(execution_id, facts)
    return True


_RULES: Final = {
    "create": _create,
    "fork": _fork,
    "import": _import,
    "cancel": _cancel,
    "pause": _pause,
    "unpause": _unpause,
    "signal": _signal,
    "stub": _stub,
}


def _refuse_nobody(execution_id: str, facts: Facts) -> None:
    if facts.state is None:
        raise ExecutionNotFound(
            f"there is no execution {execution_id!r}",
            hint="see what there is: obelisk-ops execution list --db DB",
        )


def _refuse_ended(execution_id: str, facts: Facts) -> None:
    _refuse_nobody(execution_id, facts)
    if facts.state is State.FINISHED:
        raise ExecutionEnded(
            f"execution {execution_id!r} is finished",
            hint=f"see how it ended: obelisk-ops execution show {execution_id} --db DB",
        )


def _refuse_moved(target: str, facts: Facts) -> None:
    if _will_be_moved(facts):
        raise Conflict(
            f"execution {target!r} was moved: it goes on in another database",
            hint="ask there; if it was imported nowhere it is taken back with: "
            f"obelisk-ops execution unpause {target} --take-back --db DB",
        )


def _refuse_other_answer(target: str, known: str, asked: str) -> None:
    if _gist(known) != _gist(asked):
        raise AlreadyAnswered(
            f"call {target!r} was answered before, and otherwise",
            hint="the first answer counts",
        )


def _gist(body: str) -> bytes:
    """Return what makes two answers the same: the value, or the error's class and text."""
    answer = msgspec.json.decode(body, type=Answer)
    told: Any = (
        msgspec.json.decode(answer.ok)
        if answer.ok is not UNSET
        else None if answer.error is UNSET
        else ("error", answer.error.type, answer.error.message)
    )  # fmt: skip
    # As text: in Python true equals 1 and 1.0, in JSON it does not.
    return msgspec.json.encode([answer.error is UNSET, told], order="deterministic")


def _waiting(facts: Facts, kind: str) -> list[Letter]:
    return [letter for letter in facts.letters if letter.kind == kind]


def _will_be_paused(facts: Facts) -> bool:
    last = [one.kind for one in facts.letters if one.kind in ("pause", "unpause")]
    return last[-1] == "pause" if last else facts.is_paused


def _will_be_moved(facts: Facts) -> bool:
    held = [one for one in facts.letters if one.kind in ("pause", "unpause")]
    if not held:
        return facts.is_moved
    return held[-1].kind == "pause" and msgspec.json.decode(held[-1].body, type=Pause).moved


def signal_id(body: str) -> str:
    """Return the id in the body of a signal; empty, if it has none or is damaged."""
    try:
        return msgspec.json.decode(body, type=Signal).id
    except msgspec.DecodeError:
        return ""
