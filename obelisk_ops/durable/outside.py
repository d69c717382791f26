"""
Does what came from outside fit the code it is for?

Whoever sends without the code at hand may be wrong. An owner that knows the type refuses
it to the sender; what was kept while nobody knew is set aside when the code is to have it.
In both cases the execution goes on waiting.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import UNSET, Raw

from obelisk_ops.core.events import Finished
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.core.requests import Signal as SignalBody
from obelisk_ops.core.words import shorten
from obelisk_ops.durable.flow.functions import Stub
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.flow.signals import Signal
from obelisk_ops.durable.log import log
from obelisk_ops.errors import InvalidInput, NotSerialisable

_ERROR_CHARS = 500
_STILL_WAITING = "the call still waits"


def why_not(pending: Pending, item: InboxItem) -> str:
    """Return why *item* is not what a call waits for; empty, if it is."""
    try:
        if isinstance(pending.function, Signal):
            pending.function.shape.decode(_value(item.body))
        elif isinstance(pending.function, Stub):
            refuse_answer(pending.function, item.body)
    except InvalidInput as misfit:
        return shorten(misfit.message, _ERROR_CHARS)
    return ""


def warn(execution_id: str, n: int, kind: str, why: str) -> None:
    """Say that something was set aside; its sender, who did not know the code, has gone."""
    log.warning("set_aside", execution=execution_id, call=n, what=kind, reason=why)


def refuse_signal(execution_id: str, known: Iterable[Signal[object]], body: str) -> None:
    """
    Return if a signal fits one of those that the code knows by its name, or it knows none.

    Raises:
        InvalidInput: It fits none of them.
    """
    why: InvalidInput | None = None
    for signal in known:
        try:
            signal.shape.decode(_value(body))
        except InvalidInput as misfit:
            why = misfit
        else:
            return
    if why is not None:
        raise InvalidInput(
            why.message, hint=f"it was not sent: {execution_id!r} still waits for one that fits"
        ) from why


def refuse_answer(stub: Stub[..., object], body: str) -> None:
    """
    Return if a result from outside fits the stub that it is for.

    Raises:
        InvalidInput: It does not.
    """
    answer = msgspec.json.decode(body, type=Finished)
    if answer.ok is not UNSET:
        try:
            stub.codec.decode_result(answer.ok)
        except NotSerialisable as misfit:
            raise InvalidInput(misfit.message, hint=_STILL_WAITING) from misfit


def _value(body: str) -> Raw:
    return msgspec.json.decode(body, type=SignalBody).value
