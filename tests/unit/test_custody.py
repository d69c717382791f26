"""What is missing from a listing, when it counts as lost, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk_ops.litestream import ltx
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.chain import Chain, examine
from obelisk_ops.supervise.custody import Custody, Missing, missing_from, rest_ms
from obelisk_ops.supervise.ledger import PAUSE_MS, SHOWN_MS, Ledger, Loss
from obelisk_ops.supervise.position import Remote


def files(*names: str) -> list[LtxFile]:
    """Make files from ``level:first-last``."""
    made = []
    for name in names:
        level, _, span = name.partition(":")
        first, last = span.split("-")
        key = ltx.file_name(ltx.Name(level=int(level), min_txid=int(first), max_txid=int(last)))
        made.append(
            LtxFile(
                epoch=1, level=int(level), min_txid=int(first), max_txid=int(last),
                key=key, size=1, modified_ms=0,
            )
        )  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("names", "acknowledged", "missing"),
    [
        pytest.param([], 0, None, id="nothing yet"),
        pytest.param([], 3, (1, 3), id="everything is gone"),
        pytest.param(["0:1-1", "0:2-2"], 2, None, id="raw files"),
        pytest.param(["0:1-1", "0:2-2"], 4, (3, 4), id="the tail is gone"),
        pytest.param(["0:1-1", "0:3-3"], 3, (2, 2), id="a gap"),
        pytest.param(["0:1-1", "1:1-2", "0:3-3"], 3, None, id="a raw file that was compacted"),
        pytest.param(["1:1-4", "1:7-9", "0:8-8"], 9, (5, 6), id="a hole between compactions"),
        pytest.param(["9:1-6", "0:7-7"], 7, None, id="a snapshot, and what follows"),
        pytest.param(["9:1-6", "0:8-8"], 8, (7, 7), id="a gap behind the snapshot"),
        pytest.param(["9:1-9", "0:7-7"], 7, None, id="a snapshot that is ahead"),
        pytest.param(["0:2-2", "0:3-3"], 3, (1, 1), id="the beginning is gone"),
    ],
)
def test_what_a_chain_lacks(
    names: list[str], acknowledged: int, missing: tuple[int, int] | None
) -> None:
    chain = examine(files(*names))

    found = missing_from(chain, acknowledged=acknowledged)

    assert (found and (found.first, found.last)) == missing


@pytest.mark.parametrize(
    ("looks", "certain"),
    [
        pytest.param([(0, True)], False, id="one listing"),
        pytest.param([(0, True), (100, True), (200, True)], False, id="too soon"),
        pytest.param([(0, True), (5_000, True)], False, id="too few"),
        pytest.param([(0, True), (1_500, True), (3_000, True)], True, id="often, over a time"),
        pytest.param([(0, True), (2_000, False), (4_000, True)], False, id="it was there"),
    ],
)
def test_nothing_is_lost_by_one_listing(looks: list[tuple[int, bool]], certain: bool) -> None:  # noqa: FBT001 - from the table
    custody = Custody()

    for at_ms, is_short in looks:
        custody.note(Missing(first=3, last=4) if is_short else None, now_ms=at_ms)

    problem = custody.problem()
    assert problem is not None
    assert custody.is_certain is certain
    assert problem.code == ("lost_objects" if certain else "verification_failed")
    assert problem.text.startswith("transactions 3 to 4 are ")


def test_it_is_asked_again_soon_and_forgotten_when_it_is_there() -> None:
    custody = Custody()
    custody.note(Missing(first=3, last=3), now_ms=0)

    assert (custody.is_due(1_499), custody.is_due(1_500)) == (False, True)
    custody.note(None, now_ms=1_500)
    assert custody.problem() is None
    assert not custody.is_due(99_999)


@pytest.mark.parametrize(
    ("is_small", "is_busy", "expected_ms"),
    [
        (True, True, 60_000), (True, False, 60_000),
        (False, True, 240_000), (False, False, 1_920_000),
    ],
)  # fmt: skip
def test_large_epochs_are_looked_at_less_often(
    is_small: bool, is_busy: bool, expected_ms: int  # noqa: FBT001 - from the table
) -> None:  # fmt: skip
    chain = Chain(is_small=is_small)

    assert rest_ms(chain, list_interval_ms=60_000, is_busy=is_busy) == expected_ms


def test_a_ledger_remembers_its_own_epoch(tmp_path: Path) -> None:
    mine = Ledger(tmp_path, epoch=2, owner="me")
    mine.note(Remote(txid=7, min_txid=7))
    assert mine.is_due(0)
    mine.write(0)

    assert Ledger(tmp_path, epoch=2, owner="me").acknowledged == Remote(txid=7, min_txid=7)
    assert Ledger(tmp_path, epoch=3, owner="me").acknowledged == Remote()
    assert Ledger(tmp_path, epoch=2, owner="another").acknowledged == Remote()


def test_a_ledger_is_written_once_a_second_at_most(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, epoch=1, owner="me")
    assert not ledger.is_due(0), "there is nothing new"
    ledger.note(Remote(txid=1, min_txid=1))
    ledger.write(5_000)
    ledger.note(Remote(txid=1, min_txid=1))
    assert not ledger.is_due(99_999), "nor now"
    ledger.note(Remote(txid=2, min_txid=2))

    assert not ledger.is_due(5_000 + PAUSE_MS - 1)
    assert ledger.is_due(5_000 + PAUSE_MS)


def test_a_ledger_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_bytes(b'{"entry"')

    assert Ledger(tmp_path, epoch=1, owner="me").acknowledged == Remote()


def test_a_loss_is_shown_for_a_day_and_into_the_next_epoch(tmp_path: Path) -> None:
    first = Ledger(tmp_path, epoch=1, owner="me")
    first.note_loss(Loss(epoch=1, first=3, last=4, at_ms=1_000))
    first.note_loss(Loss(epoch=1, first=9, last=9, at_ms=2_000))
    first.write(0)
    second = Ledger(tmp_path, epoch=2, owner="me")

    assert second.words_of_losses(2_000) == (
        "transactions 3 to 4 of e0001 were lost from the bucket",
        "transaction 9 of e0001 was lost from the bucket",
    )
    assert len(second.words_of_losses(1_000 + SHOWN_MS)) == 1
