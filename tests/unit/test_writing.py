"""Which writes of a refused group are refused, when they are tried one by one."""

from __future__ import annotations

import pytest

from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.errors import OpsError, VersionConflict
from obelisk_ops.storage.writing import one_by_one

BAD = VersionConflict("taken")
BEFORE = VersionConflict("before")


def write(key: int, version: int) -> Write:
    return Write(key, [(key, version, 0, "returned", "{}")])


def with_child(key: int, child: int) -> Write:
    row = StateRow(key=child, id=f"{key}/1", function="m.f", state=State.PENDING, created_at=0)
    return Write(key, [(key, 1, 0, "submitted", "{}")], created=[row])


@pytest.mark.parametrize(
    ("writes", "bad", "guilty", "refused"),
    [
        ([], [], {}, {}),
        ([write(1, 0), write(2, 0)], [], {}, {}),
        ([write(1, 0), write(2, 0), write(1, 1)], [0], {}, {0: BAD, 2: BAD}),
        ([write(1, 0), write(1, 1), write(2, 0)], [1], {}, {1: BAD}),
        ([write(1, 0), write(2, 0)], [], {1: BEFORE}, {0: BEFORE}),
        ([with_child(1, 2), write(2, 0), write(3, 0)], [0], {}, {0: BAD, 1: BAD}),
    ],
    ids=[
        "nothing", "all are good", "what follows a refused one", "what went before it",
        "one of which another was refused before", "a child that was not made",
    ],
)  # fmt: skip
def test_what_is_refused(
    writes: list[Write],
    bad: list[int],
    guilty: dict[int, OpsError],
    refused: dict[int, OpsError],
) -> None:
    tried: list[Write] = []

    def attempt(write: Write) -> OpsError | None:
        tried.append(write)
        return BAD if any(write is writes[at] for at in bad) else None

    assert one_by_one(writes, attempt, guilty) == refused
    spared = [writes[at] for at in refused if at not in bad]
    assert [one for one in writes if one not in spared] == tried
