"""The text of `status`: for people, so it is tested by what they read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from obelisk_ops.cli.supervise import _age, _print_status
from obelisk_ops.supervise.status import Row, Window

SAFE = Row(
    name="orders", path="/runs/orders.db", state="ok", rpo_seconds=0.8, unsent_transactions=0,
    pid=2801,
    restorable=Window(oldest="2026-10-23T09:02:00.000Z", newest="2026-11-22T09:04:43Z"),
    last_drill={"at": "2026-11-22T07:00:00Z", "outcome": "ok"},
)  # fmt: skip


def shown(capsys: pytest.CaptureFixture[str], *rows: Row) -> list[list[str]]:
    _print_status(rows)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_each_database_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lagging = replace(
        SAFE, name="billing", state="lagging", rpo_seconds=156.0, unsent_transactions=154,
        detail="S3 does not answer since 2 min: connection refused",
    )  # fmt: skip

    heads, *lines = shown(capsys, SAFE, lagging)

    assert heads == ["DB", "STATE", "RPO", "UNSENT", "RESTORABLE", "DRILL", "DETAIL"]
    window = ["2026-10-23", "09:02:00", "→", "2026-11-22", "09:04:43"]
    assert lines[0] == ["orders", "OK", "0.8s", "0", "tx", *window, "ok", "pid", "2801"]
    assert lines[1][:5] == ["billing", "LAGGING", "2m36s", "154", "tx"]
    assert lines[1][-2:] == ["connection", "refused"]


def test_what_is_not_known_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    _, line = shown(
        capsys, Row(name="a", path="/a", state="stopped", detail="no supervisor runs")
    )

    assert line == ["a", "STOPPED", "—", "—", "—", "—", "no", "supervisor", "runs"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0s"), (59.94, "59.9s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m"),
     (90_000, "25h0m"), (300_000, "3d11h"), (None, None)],
)  # fmt: skip
def test_ages(seconds: float | None, text: str | None) -> None:
    assert _age(seconds) == text
