"""Which epoch a file goes into, as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from obelisk_ops.replica.epochs import EpochMarker, Parent
from obelisk_ops.supervise.ownership import (
    Continue,
    Doubt,
    File,
    Missing,
    Occupant,
    OpenNext,
    Owner,
    Refuse,
    Restored,
    decide_epoch,
    end_if_claimed,
    end_if_in_doubt,
    newest_meant,
)

FILE = File(name="db", host="here", inode=7, database_id="d1")
OWNER = Owner(name="db", host="here", inode=7, epoch=2, owner="mine", database_id="d1")
NEWEST = EpochMarker(
    epoch=2, parent=None, database_id="d1", host="here", inode=7, opened_at_ms=0, owner="mine"
)
RESTORED = Restored(name="db", epoch=1, txid=40, at_ms=99)
COPY = replace(RESTORED, inode=7)
MARKED = replace(OWNER, is_marked=True)
FIRST = OpenNext(epoch=1, parent=None)
GONE = Missing(
    reason="the note beside the file says that epoch 2 exists, and the bucket holds no backup "
    "of this name: it is another bucket or prefix, or the backup was deleted"
)
TRIED = replace(OWNER, epoch=3, parent=Parent(epoch=2, txid=5))
AGAIN = OpenNext(epoch=3, parent=Parent(epoch=2, txid=5), owner="mine")
GOES_ON = Continue(owner=OWNER)
SINCE_NEWEST = OpenNext(epoch=3, parent=Parent(epoch=2, txid=None))
SINCE_RESTORE = OpenNext(epoch=3, parent=Parent(epoch=1, txid=40), restored_at_ms=99)


def branch(txid: int) -> OpenNext:
    return OpenNext(epoch=3, parent=Parent(epoch=2, txid=txid))


def refusal(epoch: int, reason: str) -> Refuse:
    return Refuse(reason=reason, by=Occupant(host="there", epoch=epoch))


def doubt(trusted_txid: int | None) -> Doubt:
    return Doubt(epoch=2, trusted_txid=trusted_txid)


@pytest.mark.parametrize(
    ("owner", "newest", "restored", "decision"),
    [
        pytest.param(None, None, None, FIRST, id="the very first"),
        pytest.param(
            OWNER, None, None, OpenNext(epoch=1, parent=None),
            id="the crash came before the first marker",
        ),
        pytest.param(MARKED, None, None, GONE, id="an empty bucket"),
        pytest.param(
            replace(MARKED, host="renamed"), None, None, GONE, id="the machine was renamed"
        ),
        pytest.param(replace(MARKED, inode=8), None, None, FIRST, id="another file begins"),
        pytest.param(
            replace(MARKED, epoch=3), NEWEST, None,
            replace(GONE, reason=GONE.reason.replace("epoch 2", "epoch 3").replace(
                "holds no backup of this name", "ends with epoch 2")),
            id="an older bucket",
        ),
        pytest.param(MARKED, NEWEST, None, Continue(owner=MARKED), id="the marker is there"),
        pytest.param(OWNER, NEWEST, None, Continue(owner=OWNER), id="all agree"),
        pytest.param(OWNER, NEWEST, RESTORED, Continue(owner=OWNER), id="restored long ago"),
        pytest.param(None, NEWEST, None, SINCE_NEWEST, id="a file without a note"),
        pytest.param(replace(OWNER, host="there"), NEWEST, None, SINCE_NEWEST, id="other host"),
        pytest.param(replace(OWNER, inode=8), NEWEST, None, SINCE_NEWEST, id="another file"),
        pytest.param(replace(OWNER, name="x"), NEWEST, None, SINCE_NEWEST, id="another name"),
        pytest.param(
            replace(OWNER, database_id="d2"), NEWEST, None, SINCE_NEWEST, id="overwritten"
        ),
        pytest.param(
            replace(OWNER, database_id=None), NEWEST, None,
            Continue(owner=replace(OWNER, database_id=None)), id="no id was known then",
        ),
        pytest.param(
            replace(OWNER, owner="other"), NEWEST, None, SINCE_NEWEST, id="a race was lost"
        ),
        pytest.param(
            replace(OWNER, epoch=3), NEWEST, None, SINCE_NEWEST,
            id="the crash came before the marker",
        ),
        pytest.param(
            replace(OWNER, epoch=1), replace(NEWEST, host="there", owner="theirs"), None,
            refusal(2, "epoch 2 was opened by there; this file belongs to epoch 1"),
            id="another machine took over",
        ),
        pytest.param(
            replace(TRIED, epoch=4), NEWEST, None, SINCE_NEWEST, id="tried in another bucket",
        ),
        pytest.param(TRIED, NEWEST, None, AGAIN, id="it was tried, with an end that was known"),
        pytest.param(
            TRIED, replace(NEWEST, epoch=3, host="there", owner="theirs"), None,
            refusal(3, "epoch 3 was opened by there; this file belongs to epoch 3"),
            id="it was tried, and another was first",
        ),
        pytest.param(None, NEWEST, RESTORED, SINCE_RESTORE, id="a restored copy"),
        pytest.param(
            replace(OWNER, inode=8), NEWEST, RESTORED, SINCE_RESTORE,
            id="a restored copy where the original was",
        ),
        pytest.param(
            None, NEWEST, replace(RESTORED, name="x"), SINCE_NEWEST, id="restored from another"
        ),
        pytest.param(None, NEWEST, replace(RESTORED, inode=7), SINCE_RESTORE, id="that copy"),
        pytest.param(None, NEWEST, replace(RESTORED, inode=8), SINCE_NEWEST, id="another copy"),
        pytest.param(
            None, NEWEST, replace(RESTORED, epoch=9), SINCE_NEWEST, id="restored from elsewhere"
        ),
        pytest.param(
            replace(OWNER, inode=8, restored_at_ms=99), NEWEST, RESTORED, SINCE_NEWEST,
            id="that restore explains the last epoch, not this file",
        ),
        pytest.param(
            replace(OWNER, epoch=3, restored_at_ms=99), NEWEST, RESTORED, SINCE_RESTORE,
            id="the crash came before the marker of the restored copy",
        ),
    ],
)  # fmt: skip
def test_decision(
    owner: Owner | None, newest: EpochMarker | None, restored: Restored | None, decision: Any
) -> None:
    assert decide_epoch(FILE, owner=owner, newest=newest, restored=restored) == decision


@pytest.mark.parametrize(
    ("local_txid", "replica_txid", "decision"),
    [
        pytest.param(7, 7, GOES_ON, id="everything is sent"),
        pytest.param(9, 7, GOES_ON, id="something is unsent"),
        pytest.param(9, 0, GOES_ON, id="nothing was ever sent"),
        pytest.param(0, 0, GOES_ON, id="nothing was ever read"),
        pytest.param(1, 7, branch(1), id="the file was set back"),
        pytest.param(6, 7, branch(6), id="by one transaction"),
        pytest.param(0, 7, GOES_ON, id="only Litestream's files are gone: it heals itself"),
    ],
)
def test_a_file_that_was_set_back_branches_where_it_was_set_back_to(
    local_txid: int, replica_txid: int, decision: Any
) -> None:
    found = decide_epoch(
        FILE, owner=OWNER, newest=NEWEST, restored=None,
        local_txid=local_txid, replica_txid=replica_txid,
    )  # fmt: skip

    assert found == decision


def test_a_branch_of_a_restored_history_is_still_of_that_restore() -> None:
    owner = replace(OWNER, restored_at_ms=99, opened_at_ms=50)  # a clock was set in between
    restored = replace(RESTORED, inode=7)

    branched = decide_epoch(
        FILE, owner=owner, newest=NEWEST, restored=restored, local_txid=1, replica_txid=7
    )

    assert branched == replace(branch(1), restored_at_ms=99)


def test_a_refusal_does_not_ask_where_the_file_stands() -> None:
    newest = replace(NEWEST, epoch=3, host="there", owner="theirs")

    found = decide_epoch(
        FILE, owner=OWNER, newest=newest, restored=None, local_txid=1, replica_txid=7
    )

    assert isinstance(found, Refuse)


@pytest.mark.parametrize(
    ("owner", "newest", "restored", "decision"),
    [
        pytest.param(OWNER, NEWEST, COPY, SINCE_RESTORE, id="the copy took over the inode"),
        pytest.param(
            replace(OWNER, opened_at_ms=99), NEWEST, COPY,
            Continue(owner=replace(OWNER, opened_at_ms=99)), id="restored before the opening",
        ),
        pytest.param(
            replace(OWNER, restored_at_ms=99), NEWEST, COPY,
            Continue(owner=replace(OWNER, restored_at_ms=99)), id="this epoch is that copy's",
        ),
        pytest.param(
            OWNER, NEWEST, replace(COPY, inode=8), GOES_ON, id="the copy is another file"
        ),
        pytest.param(
            OWNER, NEWEST, replace(COPY, name="x"), SINCE_NEWEST, id="a copy of another backup"
        ),
        pytest.param(
            replace(OWNER, epoch=1), replace(NEWEST, owner="theirs"), COPY, SINCE_RESTORE,
            id="restored where an outdated file was",
        ),
    ],
)  # fmt: skip
def test_a_copy_restored_since_the_opening_has_an_epoch_of_its_own(
    owner: Owner, newest: EpochMarker, restored: Restored, decision: Any
) -> None:
    assert decide_epoch(FILE, owner=owner, newest=newest, restored=restored) == decision


@pytest.mark.parametrize(
    ("decision", "in_doubt", "found"),
    [
        pytest.param(GOES_ON, None, GOES_ON, id="no doubt"),
        pytest.param(GOES_ON, doubt(4), branch(4), id="trusted up to there"),
        pytest.param(GOES_ON, doubt(None), SINCE_NEWEST, id="nobody knows where"),
        pytest.param(branch(2), doubt(4), branch(2), id="it ends anyway"),
        pytest.param(branch(6), doubt(4), branch(4), id="it ends anyway, and later"),
        pytest.param(
            SINCE_RESTORE, replace(doubt(0), epoch=3), SINCE_RESTORE,
            id="of another epoch",
        ),
        pytest.param(GONE, doubt(4), GONE, id="not ours to end"),
    ],
)  # fmt: skip
def test_an_epoch_in_doubt_ends_where_it_can_be_trusted(
    decision: Any, in_doubt: Doubt | None, found: Any
) -> None:
    assert end_if_in_doubt(decision, in_doubt) == found


@pytest.mark.parametrize(
    ("decision", "was_others", "found"),
    [
        pytest.param(GOES_ON, False, GOES_ON, id="nobody was in between"),
        pytest.param(GOES_ON, True, SINCE_NEWEST, id="somebody may have read it to its end"),
        pytest.param(branch(2), True, branch(2), id="it ends anyway"),
        pytest.param(GONE, True, GONE, id="there is nothing to end"),
    ],
)
def test_an_epoch_that_others_could_have_ended_ends(
    decision: Any, *, was_others: bool, found: Any
) -> None:
    assert end_if_claimed(decision, was_others=was_others) == found


NEWEST_COPY = replace(RESTORED, claim=0)
MEANT = Parent(epoch=1, txid=40)


@pytest.mark.parametrize(
    ("decision", "restored", "claim", "meant"),
    [
        pytest.param(SINCE_RESTORE, NEWEST_COPY, 7, MEANT, id="restored, then claimed"),
        pytest.param(SINCE_RESTORE, NEWEST_COPY, None, MEANT, id="not claimed yet"),
        pytest.param(
            SINCE_RESTORE, replace(RESTORED, claim=7), 7, None, id="restored under this claim"
        ),
        pytest.param(
            SINCE_RESTORE, replace(RESTORED, claim=7), 8, MEANT, id="under an earlier one"
        ),
        pytest.param(SINCE_RESTORE, RESTORED, 7, None, id="somebody chose the state"),
        pytest.param(SINCE_NEWEST, NEWEST_COPY, 7, None, id="the copy is another file"),
        pytest.param(branch(3), NEWEST_COPY, 7, None, id="it has had its epoch"),
        pytest.param(GOES_ON, NEWEST_COPY, 7, None, id="the epoch goes on"),
        pytest.param(SINCE_RESTORE, None, 7, None, id="nothing was restored"),
    ],
)
def test_what_was_restored_as_the_newest_state_must_still_be_it(
    decision: Any, restored: Restored | None, claim: int | None, meant: Parent | None
) -> None:
    assert newest_meant(decision, restored, claim=claim) == meant
