"""The page: nothing that a log holds can break it, fetch, run or send anything."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from obelisk_ops.core.history import History, from_json
from obelisk_ops.core.ports import Output
from obelisk_ops.report import building
from obelisk_ops.report.building import CALLS_MAX
from obelisk_ops.report.excerpts import beginning, ending, of_json, printed
from obelisk_ops.report.html import Html, el, join, link
from obelisk_ops.report.page import POLICY, page
from obelisk_ops.report.shape import shape
from tests.reports import NASTY, nasty_run, report
from tests.runs import BEGIN, ERROR, Step, history, long_run, returns

RECORDED = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))


class Elements(HTMLParser):
    """Counts what a page is made of, and keeps where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs


def test_a_hostile_log_makes_a_harmless_page() -> None:
    outputs = (Output(1, 1, "stdout", BEGIN, NASTY), Output(1, 1, NASTY, BEGIN, NASTY))

    text = page(report(nasty_run(), outputs))

    found = Elements(text)
    assert {"script", "img", "iframe", "object", "form", "link", "base"} & found.names == set()
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert all(
        (value or "").startswith("#") for name, value in found.attributes if name == "href"
    )
    assert not [name for name, _ in found.attributes if name in ("src", "style", "srcset")]
    assert [ch for ch in text if not ch.isprintable() and ch != "\n"] == []
    assert text.count("</style>") == 1
    assert "\\u202eevil" in text


def test_the_policy_allows_nothing_but_its_own_style() -> None:
    text = page(report(history(returns(1, 0, 1, 2))))

    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert text.index("Content-Security-Policy") < text.index("<style")
    assert not re.search(r"https?:|url\((?!#)|@import", text)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_page_is_made_of_every_moment_of_a_run(path: Path) -> None:
    whole = from_json(path.read_text())

    for length in range(1, len(whole.events) + 1):
        moment = replace(whole, events=whole.events[:length])
        assert page(report(moment)).endswith("</html>\n")


def test_the_same_log_makes_the_same_page() -> None:
    assert page(report(nasty_run())) == page(report(nasty_run()))


@pytest.mark.parametrize("told", [nasty_run(), long_run(500)], ids=["nasty", "cut"])
def test_every_link_leads_somewhere(told: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CALLS_MAX", 100)

    found = Elements(page(report(told)))

    places = {value for name, value in found.attributes if name == "id"}
    links = {value for name, value in found.attributes if name == "href"}
    assert links
    assert {(link or "").removeprefix("#") for link in links} <= places
    fills = set(re.findall(r"url\(#([^)]+)\)", page(report(told))))
    assert fills <= places


def test_of_very_many_calls_those_that_tell_most_are_kept() -> None:
    steps = [step for n in range(1, CALLS_MAX + 1001) for step in returns(n, n, n + 1, n)]
    middle = CALLS_MAX // 2 + 500
    steps[2 * middle - 1] = (middle, "returned", {"n": middle, "error": ERROR})

    [sheet] = report(history(steps)).sheets

    assert middle in [call.n for call in sheet.calls]
    assert len(sheet.calls) + sheet.calls_left_out == sheet.totals.calls
    assert sheet.events_left_out > 0


@pytest.mark.parametrize(
    ("steps", "version"),
    [
        # as a call failed, so did the run: from that call on
        ([*returns(1, 0, 1, 1), (2, "intended", {"n": 2, "fn": "m.a", "in": [], "try": 1}),
          (3, "returned", {"n": 2, "error": ERROR}), (4, "finished", {"error": ERROR})], 3),
        # the code itself raised: all but the end
        ([*returns(1, 0, 1, 1), (4, "finished", {"error": ERROR})], 3),
    ],
)  # fmt: skip
def test_where_a_fork_begins(steps: list[Step], version: int) -> None:
    [sheet] = report(history(steps)).sheets

    assert [line for _, line in sheet.next_steps] == [
        "obelisk-ops execution replay e TARGET --pdb --db runs.db",
        f"obelisk-ops execution fork e --from-version {version} --db runs.db --to fork.db",
    ]


def test_moments_of_the_model_are_written_as_everywhere() -> None:
    told = shape(report(history(returns(1, 5, 9, {"loss": 0.5}))))

    assert told["written_at"] == "2025-11-18T08:00:00.000Z"
    [call] = told["sheets"][0]["calls"]
    assert call["told_at"] == "2025-11-18T08:00:00.009Z"
    assert call["duration_ms"] == 4
    assert call["value"] == {"text": '{"loss": 0.5}', "bytes": 13, "is_cut": False}


def test_a_moment_that_there_is_not_is_shown_as_a_number() -> None:
    far = history([(2**60, "finished", {"ok": 1})])

    assert f"{BEGIN + 2**60} ms" in page(report(far))


# -- texts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "most", "text", "is_cut"),
    [
        (b'{"a":[1,2]}', 99, '{"a": [1, 2]}', False),
        (b"[" + b"1," * 40 + b"1]", 99, "[\n  1,\n", False),
        ('"éé"'.encode(), 4, '"é', True),  # not in the middle of a character
    ],
)
def test_json(value: bytes, most: int, text: str, *, is_cut: bool) -> None:
    shown = of_json(value, most)

    assert shown.text.startswith(text)
    assert (shown.bytes, shown.is_cut) == (len(value), is_cut)


def test_of_long_texts_both_ends_can_be_shown() -> None:
    assert beginning("abc", 2).text == "ab"
    assert ending("abc", 2).text == "bc"
    assert ending("ab", 2).is_cut is False


def test_of_much_output_the_end_is_shown_and_how_much_is_not() -> None:
    pieces = [
        Output(1, 1, "stdout", 1, "a" * 10), Output(1, 1, "cut", 2, "500"),
        Output(1, 1, "stdout", 3, "b" * 10), Output(1, 1, "stderr", 4, "c" * 4),
    ]  # fmt: skip

    def shown(most: int) -> list[str | int]:
        return [one.text or one.cut_bytes for one in printed(pieces, most)]

    assert shown(100) == ["a" * 10, 500, "b" * 10, "cccc"]
    assert shown(15) == [9, "a", 500, "b" * 10, "cccc"]
    assert shown(6) == [518, "bb", "cccc"]
    assert shown(0) == [524]


def test_markup() -> None:
    assert el("p", "a<b", [1, None, el("b", "x")], class_='"q"', hidden=True, id=None) == (
        '<p class="&quot;q&quot;" hidden>a&lt;b1<b>x</b></p>'
    )
    assert link("x", "y") == '<a href="#x">y</a>'
    assert isinstance(join(["a", Html("<i>")]), Html)
