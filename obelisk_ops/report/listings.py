"""The long parts of a page: calls and events. What is closed is not laid out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from obelisk_ops.core.durations import rough
from obelisk_ops.core.words import counted
from obelisk_ops.report.excerpts import Excerpt
from obelisk_ops.report.html import Content, Html, el, link
from obelisk_ops.report.model import AttemptPart, CallPart, EventPart, Sheet
from obelisk_ops.report.pieces import excerpt, fault, printed
from obelisk_ops.report.shape import moment

T = TypeVar("T")

_CALLS_TOGETHER: Final = 100
_EVENTS_TOGETHER: Final = 250
_GLIMPSE: Final = 90


def calls(sheet: Sheet, number: int) -> Html:
    """Return the calls; what is told of one is shown when it is opened."""
    groups = [
        el("div", [_call(call, sheet, number) for call in some], class_="calls")
        for some in _batched(sheet.calls, _CALLS_TOGETHER)
    ]
    return el("div", groups, _left_out(sheet.calls_left_out, "call"))


def events(sheet: Sheet) -> Html:
    """Return the log, in groups that are opened one by one."""
    batches = list(_batched(sheet.events, _EVENTS_TOGETHER))
    groups = [_group(batch, sheet, is_open=len(batches) == 1) for batch in batches]
    return el("div", groups, _left_out(sheet.events_left_out, "event"))


def _batched(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), most):
        yield items[begin : begin + most]


def _left_out(number: int, noun: str) -> Html | None:
    if not number:
        return None
    return el("p", f"{counted(number, noun)} from the middle of the run "
              f"{'is' if number == 1 else 'are'} left out.", class_="cut")  # fmt: skip


def place_of(call: CallPart, number: int) -> str:
    """Return where on the page a call is told, of the execution with this number."""
    return f"s{number}-c{call.n}"


# -- calls -----------------------------------------------------------------------------


def _call(call: CallPart, sheet: Sheet, number: int) -> Html:
    return el(
        "details",
        el("summary", _summary(call, sheet)),
        el("div", _inside(call, sheet), class_="inside", id=place_of(call, number)),
    )


def _summary(call: CallPart, sheet: Sheet) -> Iterator[Content]:
    yield el("span", call.n, class_="n")
    kind = el("i", f" {call.kind}") if call.function else None
    yield el("b", call.function.rpartition(".")[2] or call.kind, kind, title=call.function)
    yield el("span", call.outcome, class_=f"badge {call.outcome}")
    if len(call.attempts) > 1:
        yield el("span", counted(len(call.attempts), "attempt"), class_="tries")
    yield el("span", f"+{rough(call.asked_at - sheet.created_at)}", class_="when")
    yield el("span", rough(call.duration_ms), class_="took")
    glimpse = _glimpse(call)
    yield el("code", glimpse) if glimpse else None


def _glimpse(call: CallPart) -> str:
    if call.error is not None:
        return f"{call.error.type}: {call.error.message.text}"[:_GLIMPSE]
    return "" if call.value is None else _on_a_line(call.value)


def _on_a_line(value: Excerpt) -> str:
    text = " ".join(value.text[: 2 * _GLIMPSE].split())
    return text if len(text) <= _GLIMPSE else f"{text[:_GLIMPSE]}…"


def _inside(call: CallPart, sheet: Sheet) -> Iterator[Content]:
    yield el("p", " · ".join(_facts(call, sheet)))
    if call.child_id:
        state = f" ({call.child_state})" if call.child_state else ""
        there = call.child_id if call.sheet is None else link(f"s{call.sheet}", call.child_id)
        yield el("p", "execution ", there, state)
    if call.error is not None:
        yield fault(call.error)
    for title, value in (("Arguments", call.input), ("Value", call.value)):
        if value is not None:
            yield el("h3", title), excerpt(value)
    for attempt in call.attempts:
        yield _attempt(attempt, call)


def _facts(call: CallPart, sheet: Sheet) -> Iterator[str]:
    yield f"{sheet.execution_id}/{call.n}"
    yield call.function or call.kind
    yield f"asked for {_on_the_day(call.asked_at, sheet)} (event {call.version})"
    if call.told_at is not None:
        yield f"answered {_on_the_day(call.told_at, sheet)} (event {call.told_version})"
    if call.due_at is not None:
        yield f"due {moment(call.due_at)}"
    if call.queue:
        yield f"queue {call.queue}"


def _on_the_day(at_ms: int, sheet: Sheet) -> str:
    """Return a moment without the day, if that is the one on which it was created."""
    text = moment(at_ms)
    return text[11:] if text[:10] == moment(sheet.created_at)[:10] else text


def _attempt(attempt: AttemptPart, call: CallPart) -> Content:
    is_plain = len(call.attempts) == 1 and not attempt.output and attempt.error is None
    if is_plain and attempt.outcome in ("ok", "error"):
        return None
    return el(
        "div",
        el("h3", f"Attempt {attempt.number} ",
           el("span", attempt.outcome, class_=f"badge {attempt.outcome}"),
           el("small", f" {moment(attempt.began_at)[11:]}, {rough(attempt.duration_ms)}")),
        fault(attempt.error),
        printed(attempt.output),
        class_="attempt",
    )  # fmt: skip


# -- events ----------------------------------------------------------------------------


def _group(batch: Sequence[EventPart], sheet: Sheet, *, is_open: bool) -> Html:
    first, last = batch[0], batch[-1]
    span = f"{moment(first.at)[:19].replace('T', ' ')} → {moment(last.at)[11:19]}"
    rows = [_row(event, sheet) for event in batch]
    head = el("tr", [el("th", title) for title in ("", "after", "event", "")])
    return el(
        "details",
        el("summary", el("b", f"{first.version} to {last.version}"), el("small", f" {span}")),
        el("table", head, rows),
        class_="events",
        open=is_open,
    )


def _row(event: EventPart, sheet: Sheet) -> Html:
    more = "…" if event.body.is_cut else ""
    return el(
        "tr",
        el("td", event.version),
        el("td", f"+{rough(event.at - sheet.created_at)}", title=moment(event.at)),
        el("td", event.kind, class_=event.kind),
        el("td", event.body.text + more),
    )
