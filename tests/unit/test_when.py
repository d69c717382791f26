"""What a moment may be written like, and what each form means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.core.when import At, Latest, Txid, When, parse, show
from obelisk_ops.errors import InvalidWhen

NOW = 1_795_341_600_000  # 2026-11-22T10:00:00Z
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

GOOD = [
    # text                              meaning
    ("latest",                          Latest()),
    ("  latest ",                       Latest()),
    ("0s ago",                          At(NOW)),
    ("10m ago",                         At(NOW - 10 * MINUTE)),
    ("1h30m ago",                       At(NOW - HOUR - 30 * MINUTE)),
    ("2d ago",                          At(NOW - 2 * DAY)),
    ("90s  ago",                        At(NOW - 90 * SECOND)),
    ("2026-11-22T10:00:00Z",            At(NOW)),
    ("2026-11-22T12:00:00+02:00",       At(NOW)),
    ("2026-11-22 10:00:00.250+00:00",   At(NOW + 250)),
    ("2026-11-22T10:00:00.2509Z",       At(NOW + 250)),
    ("1960-01-01T00:00:00Z",            At(-315_619_200_000)),
    ("txid:236",                        Txid(236)),
    ("txid:0",                          Txid(0)),
    ("e0002/txid:7",                    Txid(7, 2)),
    ("e2/txid:7",                       Txid(7, 2)),
]  # fmt: skip

BAD = [
    # text                              hint says
    ("",                                "10m ago"),
    ("yesterday",                       "10m ago"),
    ("10 minutes ago",                  "10m ago"),
    ("10m",                             "10m ago"),
    ("ago",                             "10m ago"),
    ("-5m ago",                         "10m ago"),
    ("30m1h ago",                       "10m ago"),
    ("999999999d ago",                  "10m ago"),
    ("2026-11-22T10:00:00",             "write 2026-11-22T10:00:00Z for UTC"),
    ("2026-11-22",                      "write 2026-11-22T00:00:00Z for UTC"),
    ("2026-13-01T00:00:00Z",            "10m ago"),
    ("txid:",                           "txid:236"),
    ("txid:-1",                         "txid:236"),
    ("txid:00000000000000ec",           "00000000000000ec is txid:236"),
    ("txid:0000000000000012",           "0000000000000012 is txid:18"),
    ("txid:xyz",                        "txid:236"),
    ("e0002/txid",                      "e0002/txid:236"),
    ("latest/txid:3",                   "txid:236"),
    ("txid:٣",                          "txid:236"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meaning"), GOOD, ids=[case[0] for case in GOOD])
def test_reads(text: str, meaning: When) -> None:
    assert parse(text, NOW) == meaning


@pytest.mark.parametrize(("text", "hint"), BAD, ids=[case[0] for case in BAD])
def test_refuses_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(InvalidWhen) as refusal:
        parse(text, NOW)

    assert hint in refusal.value.hint


MOMENTS = st.one_of(
    st.just(Latest()),
    st.integers(-4_000_000_000_000, 4_000_000_000_000).map(At),
    st.builds(Txid, st.integers(0, 2**63), st.none() | st.integers(0, 10**9 - 1)),
)


@given(MOMENTS)
def test_what_is_shown_is_read_again(when: When) -> None:
    assert parse(show(when), NOW) == when


@given(st.text())
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    try:
        parse(text, NOW)
    except InvalidWhen as error:
        refusal = error
    else:
        return
    assert refusal.hint
