"""How far an engine may go by what its supervisor told, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from obelisk_ops.durable.tether import judge

TOLD: dict[str, Any] = {"lease_deadline_ms": 5_000, "inode": 7, "boot_id": "now"}


@pytest.mark.parametrize(
    ("told", "until_ms", "why"),
    [
        pytest.param({}, None, "", id="no supervisor"),
        pytest.param({"inode": 7, "epoch": 1}, None, "", id="one that has no leases"),
        pytest.param(TOLD | {"lease_deadline_ms": None}, None, "", id="one that was stopped"),
        pytest.param(TOLD | {"inode": 8}, None, "", id="of another file"),
        pytest.param(TOLD | {"lease_deadline_ms": "x"}, None, "", id="nonsense"),
        pytest.param(TOLD, 5_000, "the lease of its supervisor has run out", id="a lease"),
        pytest.param(TOLD | {"boot_id": "before"}, 0, "was not started", id="another boot"),
        pytest.param(
            TOLD | {"lease_deadline_ms": 0}, 0, "another machine owns", id="it was fenced"
        ),
        pytest.param(
            TOLD | {"lease_deadline_ms": 0, "boot_id": "before"}, 0, "another machine owns",
            id="fenced before the boot",
        ),
    ],
)  # fmt: skip
def test_how_far(told: dict[str, Any], until_ms: int | None, why: str) -> None:
    found = judge(told, inode=7, boot="now")

    assert found.until_ms == until_ms
    assert why in found.why
    assert bool(found.why) is (until_ms is not None)
