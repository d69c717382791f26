"""Small things that a page is made of."""

from __future__ import annotations

from obelisk_ops.core.words import words_for_bytes
from obelisk_ops.report.excerpts import Excerpt, Printed
from obelisk_ops.report.html import Html, el, join
from obelisk_ops.report.model import Fault
from obelisk_ops.report.shape import moment


def time(at_ms: int | None) -> Html | None:
    """Return a moment; the day and the time, in UTC."""
    if at_ms is None:
        return None
    text = moment(at_ms)
    return el("time", text.replace("T", " ").removesuffix("Z"), el("small", " UTC"),
              datetime=text)  # fmt: skip


def command(line: str | None) -> Html | None:
    """Return what to type."""
    return None if line is None else el("pre", el("code", line), class_="command")


def excerpt(part: Excerpt | None, *, ends: bool = False) -> Html | None:
    """Return a text, and how much of it that is; *ends* if the beginning was left out."""
    if part is None:
        return None
    text = el("pre", part.text)
    if not part.is_cut:
        return text
    which = "end" if ends else "beginning"
    cut = el("p", f"This is the {which} of {words_for_bytes(part.bytes)}.", class_="cut")
    return join((cut, text) if ends else (text, cut))


def fault(error: Fault | None) -> Html | None:
    """Return an error with its traceback."""
    if error is None:
        return None
    return el(
        "div",
        el("p", el("b", error.type), ": " if error.message.text else None, error.message.text,
           class_="message"),
        el("p", error.hint, class_="hint") if error.hint else None,
        excerpt(error.traceback, ends=True) if error.traceback.text else None,
        class_="fault",
    )  # fmt: skip


def printed(pieces: tuple[Printed, ...]) -> Html | None:
    """Return what an attempt printed and logged."""
    if not pieces:
        return None
    return el("pre", [_piece(piece) for piece in pieces], class_="output")


def _piece(piece: Printed) -> Html:
    if piece.stream == "cut":
        return el("i", f"… {words_for_bytes(piece.cut_bytes)} left out …\n")
    text = piece.text if piece.text.endswith("\n") else piece.text + "\n"
    return el("span", text, class_=piece.stream, title=f"{piece.stream}, {moment(piece.at)}")
