"""
Markup that cannot be broken by what is put into it.

``Html`` is markup; every other text is escaped when it becomes a part of it. Control
characters, and those that turn the direction of writing, are shown and never sent, as on a
terminal. Links lead to places of the same page only: there is no way to write another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

from obelisk_ops.core.words import harmless

_EMPTY: Final = frozenset({"meta", "rect", "line", "circle"})
_KEPT: Final = "\n\t"


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Content: TypeAlias = "str | int | Iterable[Content] | None"


def el(name: str, *content: Content, **attributes: str | int | None) -> Html:
    """
    Return an element.

    Args:
        name: What it is.
        content: Markup, texts, or several of them; None is nothing.
        attributes: ``class_`` is ``class``, ``http_equiv`` is ``http-equiv``; True is one
            without a value, None and False are none.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY and not content:
        return Html(f"<{name}{given}>" if name == "meta" else f"<{name}{given}/>")
    return Html(f"<{name}{given}>{join(content)}</{name}>")


def join(content: Content) -> Html:
    """Return markup and texts, one after the other, as markup."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, str | int):
        return Html(escape(harmless(str(content), _KEPT)))
    return Html("".join(map(join, content)))


def link(place: str, *content: Content, **attributes: str) -> Html:
    """Return a link to a place of the same page."""
    return el("a", *content, href=f"#{place}", **attributes)


def _attribute(key: str, value: str | int | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{escape(harmless(str(value)))}"'
