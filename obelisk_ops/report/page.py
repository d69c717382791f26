"""The page: one file that needs no network and no script, for the screen and for paper."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

from obelisk_ops.core.durations import rough
from obelisk_ops.core.words import counted
from obelisk_ops.report.html import Content, Html, el, link
from obelisk_ops.report.listings import calls, events, place_of
from obelisk_ops.report.model import Report, RestorePoint, Sheet
from obelisk_ops.report.picture import hatchings, timeline
from obelisk_ops.report.pieces import command, excerpt, fault, time
from obelisk_ops.report.shape import moment

_STYLE: Final = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: when its code began is told if it is later than that
_LATE_MS: Final = 1_000

#: Nothing is fetched, run or sent, whatever a log holds: the one style sheet and no more.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
)


def page(report: Report) -> str:
    """Write a report as HTML."""
    first = report.sheets[0]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name_="color-scheme", content="light dark"),
        el("meta", name_="referrer", content="no-referrer"),
        el("title", f"{first.execution_id} · {_ending(first)}"),
        el("style", Html(_STYLE)),
    )
    sheets = [_sheet(report, number) for number in range(len(report.sheets))]
    body = el("body", hatchings(), sheets, _footer(report))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _sheet(report: Report, number: int) -> Html:
    sheet = report.sheets[number]
    return el(
        "article",
        _header(report, sheet, number),
        _section("What it waits for", _waits(sheet)) if sheet.waits else None,
        _section("Error", fault(sheet.error), _steps(sheet)) if sheet.error else None,
        _section(
            "Timeline",
            timeline(sheet.picture, _places(sheet, number)),
            id_=f"s{number}-timeline",
        ),
        _section("Input and value", _values(sheet)),
        _section("Calls", calls(sheet, number), id_=f"s{number}-calls")
        if sheet.calls
        else None,
        _section("Events", events(sheet), id_=f"s{number}-events"),
        id=f"s{number}",
    )


def _places(sheet: Sheet, number: int) -> dict[int, str]:
    return {call.n: place_of(call, number) for call in sheet.calls}


def _section(title: str, *content: Content, id_: str | None = None) -> Html:
    return el("section", el("h2", title), *content, id=id_)


# -- the head of an execution ----------------------------------------------------------


def _header(report: Report, sheet: Sheet, number: int) -> Html:
    ending = _ending(sheet)
    return el(
        "header",
        el("p", el("span", ending, class_=f"badge {_tone(sheet)}"), " ", _lead(sheet),
           class_="lead"),
        el("h1" if number == 0 else "h2", sheet.execution_id, class_="id"),
        el("p", sheet.function, class_="function"),
        el("dl", [el("div", el("dt", term), el("dd", value))
                  for term, value in _facts(report, sheet) if value is not None],
           class_="facts"),
        _contents(report) if number == 0 else None,
    )  # fmt: skip


def _ending(sheet: Sheet) -> str:
    if sheet.result in (None, "ok"):
        return sheet.state
    return str(sheet.result)


def _tone(sheet: Sheet) -> str:
    if sheet.result == "ok":
        return "ok"
    return "error" if sheet.result or sheet.state == "parked" else "open"


def _lead(sheet: Sheet) -> str:
    took = rough(sheet.duration_ms)
    return f"after {took}" if sheet.result else f"for {took} so far"


def _facts(report: Report, sheet: Sheet) -> Iterator[tuple[str, Content]]:
    yield "Created", time(sheet.created_at)
    if sheet.began_at is not None and sheet.began_at - sheet.created_at >= _LATE_MS:
        yield "Began", time(sheet.began_at)
    yield "Finished", time(sheet.finished_at)
    yield "Read as of", None if sheet.finished_at else time(sheet.as_of_at)
    yield "Took" if sheet.result else "So far", rough(sheet.duration_ms)
    yield "Database", el("code", report.database)
    yield from _point(report.restore_point)
    yield "Child of", _parent(report, sheet)
    yield "Forked from", sheet.forked_from
    yield "Continues", sheet.continues
    yield "Continued as", sheet.continued_as
    yield "Made by schedule", sheet.schedule_id
    totals = sheet.totals
    yield "Calls", f"{totals.calls:,}"
    yield "Attempts", f"{totals.attempts:,}{_repeats(sheet)}"
    yield "Events", f"{totals.events:,}"
    yield "Code", el("code", sheet.digest) if sheet.digest else None


def _parent(report: Report, sheet: Sheet) -> Content:
    """Return the execution that made it, as a link if it is told here."""
    for number, other in enumerate(report.sheets):
        if other.execution_id == sheet.parent_id:
            return link(f"s{number}", other.execution_id)
    return sheet.parent_id


def _repeats(sheet: Sheet) -> str:
    totals = sheet.totals
    lost = f", {totals.lost} lost with a process" if totals.lost else ""
    return f" ({counted(totals.retries, 'repeat')}{lost})" if totals.retries else ""


def _point(point: RestorePoint | None) -> Iterator[tuple[str, Content]]:
    if point is not None:
        state = el("code", f"{point.name} e{point.epoch:04d}/txid:{point.txid}")
        if point.is_copy:
            yield "Restored from", [state, " at ", time(point.at)]
        else:
            yield "Restore point", [state, " of ", time(point.at)]


def _contents(report: Report) -> Html | None:
    """Return links to the executions of the page, if there are several."""
    if len(report.sheets) == 1:
        return None
    places = [
        el("li", link(f"s{number}", sheet.execution_id), " ", el("small", _ending(sheet)))
        for number, sheet in enumerate(report.sheets)
    ]
    more = el("li", "and more that are not here") if report.has_more else None
    return el("nav", el("ul", places, more))


# -- its parts -------------------------------------------------------------------------


def _waits(sheet: Sheet) -> Html:
    return el("ul", [
        el("li", f"{wait.execution_id}: " if wait.execution_id != sheet.execution_id else None,
           wait.text, command(wait.command))
        for wait in sheet.waits
    ], class_="waits")  # fmt: skip


def _steps(sheet: Sheet) -> Html:
    steps = [el("li", f"To {words}:", command(line)) for words, line in sheet.next_steps]
    return el("ul", steps, class_="waits")


def _values(sheet: Sheet) -> Html:
    value = [el("h3", "Value"), excerpt(sheet.value)] if sheet.value else None
    return el("div", el("div", el("h3", "Input"), excerpt(sheet.input)),
              el("div", value) if value else None, class_="values")  # fmt: skip


def _footer(report: Report) -> Html:
    return el(
        "footer",
        el("p", "Written by obelisk-ops ", report.program, ", ", moment(report.written_at),
           ". Nothing was executed for it; the page itself runs nothing and fetches nothing."),
        el("p", "It holds what the log holds, as inputs, values, messages and output: keep it "
           "as you keep the database."),
    )  # fmt: skip
