"""The timeline as inline SVG. Places are percentages: it is as wide as the page, and sharp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from obelisk_ops.core.durations import rough
from obelisk_ops.core.words import counted
from obelisk_ops.report.html import Html, el, link
from obelisk_ops.report.lanes import Bar, Lane, Picture, Pin
from obelisk_ops.report.scale import Piece
from obelisk_ops.report.shape import moment

_ROW: Final = 22
_AXIS: Final = 42
_THICK, _THIN = 12, 6
_TALL: Final = 16  # a failure is seen by its shape, too
#: looks of bars that are not work, but waiting
_THIN_LOOKS: Final = frozenset({"wait", "backoff", "queued"})
#: what happens at the very end is seen, too
_LEAST: Final = 0.003
#: a rectangle without any width is not drawn at all
_THINNEST: Final = 0.0005
#: a label of the axis is drawn if it has so much room
_CLOCK_ROOM, _TICK_ROOM = 0.115, 0.065

LEGEND: Final = (
    ("ok", "returned"),
    ("failed", "failed, tried again"),
    ("error", "failed"),
    ("lost", "ended with its process"),
    ("fading", "nobody saw when"),
    ("cancelled", "cancelled"),
    ("open", "open"),
    ("child-ok", "child workflow"),
    ("wait", "waiting: timer, signal, stub"),
    ("backoff", "until the next attempt"),
    ("queued", "waiting to start"),
    ("died", "a process died in this time"),
    ("paused", "paused, or not begun"),
    ("parked", "parked"),
    ("signal", "a signal arrives"),
    ("cancel", "its end is asked for"),
    ("upgraded", "other code goes on"),
)


_PINS: Final = frozenset({"signal", "cancel", "upgraded"})
_SAME_IN_LEGEND: Final = {
    "unbegun": "paused", "child-error": "child-ok", "child-open": "child-ok",
    "timeout": "cancel", "patched": "upgraded",
}  # fmt: skip


def timeline(picture: Picture, places: Mapping[int, str]) -> Html:
    """
    Return names at the left, the picture at the right, and what is to be said of it.

    *places* is where on the page calls are told, by number.
    """
    looks = _looks(picture)
    height = _AXIS + _ROW * (1 + len(picture.lanes))
    return el(
        "figure",
        el(
            "div",
            el("ol", _names(picture, places), class_="names"),
            el("svg", _drawn(picture, places, height), height=height, role="img",
               aria_label="timeline of the run"),
            class_="timeline",
        ),
        el("figcaption", el("ul", _legend(looks), class_="legend"),
           [el("p", note) for note in picture.notes]),
    )  # fmt: skip


def hatchings() -> Html:
    """Return what fills of the pictures refer to; once on a page."""
    drawn = el("defs", _hatching("hatch", 45, 6), _hatching("hatch-lost", -45, 4))
    return el("svg", drawn, class_="defs", width=0, height=0, aria_hidden="true")


def swatch(look: str) -> Html:
    """Return what bars of one look look like."""
    height = min(_height(look), _THICK)
    drawn = el("rect", x=1, y=(14 - height) // 2, width=20, height=height, class_=look)
    if look in _PINS:
        drawn = el("circle", cx=11, cy=7, r=4, class_=f"pin {look}")
    return el("svg", drawn, width=22, height=14, aria_hidden="true")


def _looks(picture: Picture) -> set[str]:
    bars = [*picture.run, *(bar for lane in picture.lanes for bar in lane.bars)]
    looks = {bar.look for bar in bars} | {pin.kind for pin in picture.pins}
    return {_SAME_IN_LEGEND.get(look, look) for look in looks}


def _legend(looks: set[str]) -> Iterator[Html]:
    for look, words in LEGEND:
        if look in looks:
            yield el("li", swatch(look), words)


def _names(picture: Picture, places: Mapping[int, str]) -> Iterator[Html]:
    yield el("li", el("b", "the run"))
    for before, lane in zip((None, *picture.lanes), picture.lanes, strict=False):
        is_same = before is not None and lane.n is None and before.name == lane.name
        yield el("li", None if is_same else _name(lane, places), title=_full_name(lane))


def _name(lane: Lane, places: Mapping[int, str]) -> Html:
    short = lane.name.rpartition(".")[2] or lane.kind
    if lane.n is None:
        return el("span", short, el("i", f" {lane.kind}"))
    return link(places[lane.n], el("small", lane.n), f" {short}")


def _full_name(lane: Lane) -> str:
    many = "" if lane.n is not None else f", {counted(lane.calls, 'call')} on this lane"
    return f"{lane.kind} {lane.name}".rstrip() + many


def _drawn(picture: Picture, places: Mapping[int, str], height: int) -> Iterator[Html]:
    yield from _stripes(picture)
    yield from _grid(picture, height)
    for bar in picture.run:
        yield _rect(bar, _AXIS, _THICK)
    yield from map(_pin, picture.pins)
    for number, lane in enumerate(picture.lanes, start=1):
        top = _AXIS + _ROW * number
        for bar in lane.bars:
            drawn = _rect(bar, top, _height(bar.look))
            place = None if bar.n is None else places.get(bar.n)
            yield drawn if place is None else link(place, drawn)
    yield from (_fold(piece, height) for piece in picture.scale.pieces if piece.is_folded)


def _stripes(picture: Picture) -> Iterator[Html]:
    for number in range(0, 1 + len(picture.lanes), 2):
        yield el("rect", x="0", y=_AXIS + _ROW * number, width="100%", height=_ROW,
                 class_="stripe")  # fmt: skip


def _grid(picture: Picture, height: int) -> Iterator[Html]:
    """Yield the axis: when each piece begins, and round spans of time after that."""
    for piece in picture.scale.pieces:
        if not piece.is_folded and piece.right - piece.left >= _CLOCK_ROOM:
            clock = _clock(piece.begin_at, picture.scale.pieces[0].begin_at)
            yield el("text", clock, x=_percent(piece.left), y=13, dx=3, class_="clock")
    free = 0.0
    for tick in picture.ticks:
        x = _percent(tick.place)
        yield el("line", x1=x, x2=x, y1=20, y2=height, class_="tick")
        if tick.place >= free and tick.room >= _TICK_ROOM:
            yield el("text", f"+{rough(tick.after)}" if tick.after else "+0", x=x, y=31, dx=3,
                     class_="after")  # fmt: skip
            free = tick.place + _TICK_ROOM


def _clock(at_ms: int, first_ms: int) -> str:
    """Return a time of the day, with the day if it is another one than the first."""
    text, first = moment(at_ms), moment(first_ms)
    return text[11:-1] if text[:10] == first[:10] else f"{text[5:10]} {text[11:19]}"


def _fold(piece: Piece, height: int) -> Html:
    x, width = _percent(piece.left), _percent(piece.right - piece.left)
    middle = _percent((piece.left + piece.right) / 2)
    words = rough(piece.length)
    return el(
        "g",
        el("title", f"{words} in which nothing happened"),
        el("rect", x=x, y=20, width=width, height=height - 20, class_="fold"),
        el("text", words, x=middle, y=31, class_="folded"),
    )


def _rect(bar: Bar, top: int, height: int) -> Html:
    left = min(bar.left, 1 - _LEAST)
    more = f" (and {bar.count - 1} more, too close to be drawn apart)" if bar.count > 1 else ""
    return el(
        "rect",
        el("title", bar.title + more),
        x=_percent(left), y=top + (_ROW - height) // 2,
        width=_percent(max(bar.right - left, _THINNEST)), height=height, class_=bar.look,
    )  # fmt: skip


def _pin(pin: Pin) -> Html:
    """Return a mark on the run's bar."""
    return el(
        "circle", el("title", pin.title), cx=_percent(pin.place), cy=_AXIS + _ROW // 2, r=4,
        class_=f"pin {pin.kind}",
    )  # fmt: skip


def _hatching(name: str, angle: int, size: int) -> Html:
    return el(
        "pattern", el("line", x1=0, y1=0, x2=0, y2=size, class_=f"{name}-line"),
        id=name, width=size, height=size, patternUnits="userSpaceOnUse",
        patternTransform=f"rotate({angle})",
    )  # fmt: skip


def _height(look: str) -> int:
    if look == "error":
        return _TALL
    return _THIN if look in _THIN_LOOKS else _THICK


def _percent(part: float) -> str:
    return f"{100 * part:.3f}%"
