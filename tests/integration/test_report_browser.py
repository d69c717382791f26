"""The page in a real browser: long runs stay responsive, and hostile ones harmless."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.report.page import page
from tests.browser import Browser, browser, find_browser
from tests.reports import nasty_run, report
from tests.runs import long_run

pytestmark = pytest.mark.xdist_group("chromium")

#: seconds of the browser's main thread, which counts in its own time: other work on this
#: machine makes none of them longer
LOAD_S, REACTS_S = 2.0, 0.2
FRAME = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with browser(program, tmp_path_factory.mktemp("chromium")) as started:
        started.call("Performance.enable", timeDomain="threadTicks")
        yield started


def busy_s(chromium: Browser) -> float:
    """Return for how long its main thread has worked."""
    metrics = chromium.call("Performance.getMetrics")["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def takes_s(chromium: Browser, action: str) -> float:
    """Return how long the main thread works for an action, and for what is seen of it."""
    before = busy_s(chromium)
    chromium.ask(f"(async () => {{ {action}; {FRAME} }})()")
    return busy_s(chromium) - before


@pytest.fixture(scope="module")
def long_page(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A run of ten thousand events, opened."""
    file = tmp_path_factory.mktemp("page") / "long.html"
    file.write_text(page(report(long_run(10_000))))
    chromium.look()
    before = busy_s(chromium)
    chromium.open(file)
    chromium.ask(f"(async () => {{ {FRAME} }})()")
    assert busy_s(chromium) - before < LOAD_S
    return chromium


@pytest.mark.parametrize(
    ("action", "number"),
    [
        ("scrollTo(0, document.body.scrollHeight / %d)", 2),
        ("scrollTo(0, document.body.scrollHeight - %d)", 0),
        ("document.querySelectorAll('details.events')[%d].open = true", 20),
        ("document.querySelectorAll('.calls details')[%d].open = true", 2000),
        ("location.hash = '#s0-c%d'", 3000),
    ],
)
def test_a_page_of_ten_thousand_events_reacts_at_once(
    long_page: Browser, action: str, number: int
) -> None:
    """One of some, each in another place: what it can do, whatever else runs here."""
    assert any(takes_s(long_page, action % (number + n)) < REACTS_S for n in range(30))


def test_a_bar_leads_to_its_call_and_opens_it(long_page: Browser) -> None:
    place = long_page.ask(
        "(() => { const bar = document.querySelector('.timeline svg a');"
        " location.hash = bar.getAttribute('href'); return location.hash.slice(1) })()"
    )

    is_open = f"document.getElementById('{place}').closest('details').open"
    assert long_page.ask(f"(async () => {{ {FRAME}; return {is_open} }})()") is True


def test_all_of_a_long_run_is_there(long_page: Browser) -> None:
    assert long_page.ask("document.querySelectorAll('.events td:first-child').length") == 10_000
    assert long_page.ask("document.querySelectorAll('svg rect').length") < 5_000


def test_a_hostile_log_runs_nothing_and_fetches_nothing(
    chromium: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "nasty.html"
    file.write_text(page(report(nasty_run())))

    chromium.look()
    chromium.open(file)

    assert chromium.ask("document.scripts.length + document.images.length") == 0
    assert chromium.ask("document.querySelectorAll('article > section').length") >= 4
    assert chromium.heard("Page.javascriptDialogOpening") == []
    assert [told["entry"] for told in chromium.heard("Log.entryAdded")] == []
    assert len(chromium.heard("Network.requestWillBeSent")) == 1


def test_it_follows_the_light_and_is_as_wide_as_the_window(
    chromium: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(report(long_run(200))))
    chromium.open(file)
    colour = "getComputedStyle(document.body).backgroundColor"

    chromium.look(dark=False)
    light = chromium.ask(colour)
    chromium.look(dark=True)
    assert chromium.ask(colour) != light
    for width in (420, 1600):
        chromium.look(width=width)
        assert chromium.ask("document.documentElement.scrollWidth") <= width
