"""What a new configuration touches, as a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import DrillSettings, LitestreamSettings, ReplicaSettings, Settings
from obelisk_ops.supervise.reload import Changes, compare

REPLICA = ReplicaSettings(
    bucket="b", prefix="p", endpoint=None, region="eu-west-1", credentials="env"
)
SETTINGS = Settings(replica=REPLICA, state_dir=Path("/state"))
PRESENT = {"a": Path("/runs/a.db"), "b": Path("/runs/b.db")}
NOTHING = Changes(
    is_elsewhere=False,
    is_otherwise=False,
    added=frozenset(),
    removed=frozenset(),
    moved=frozenset(),
    later=(),
)


def at(**replica: str) -> Settings:
    return replace(SETTINGS, replica=replace(REPLICA, **replica))


@pytest.mark.parametrize(
    ("after", "wanted", "changes"),
    [
        pytest.param(SETTINGS, PRESENT, NOTHING, id="nothing"),
        pytest.param(
            SETTINGS,
            PRESENT | {"c": Path("/runs/c.db")},
            replace(NOTHING, added=frozenset("c")),
            id="one more",
        ),
        pytest.param(
            SETTINGS,
            {"a": PRESENT["a"]},
            replace(NOTHING, removed=frozenset("b")),
            id="one less",
        ),
        pytest.param(
            SETTINGS,
            PRESENT | {"b": Path("/other/b.db")},
            replace(NOTHING, moved=frozenset("b")),
            id="another file under its name",
        ),
        pytest.param(at(credentials="profile:x"), PRESENT, NOTHING, id="other credentials"),
        pytest.param(
            at(prefix="q"), PRESENT, replace(NOTHING, is_elsewhere=True), id="another prefix"
        ),
        pytest.param(
            at(endpoint="http://s3:9000"),
            PRESENT,
            replace(NOTHING, is_elsewhere=True),
            id="another server",
        ),
        pytest.param(
            replace(SETTINGS, litestream=LitestreamSettings(sync_interval_s=5)),
            PRESENT,
            replace(NOTHING, is_otherwise=True),
            id="another interval",
        ),
        pytest.param(
            replace(SETTINGS, state_dir=Path("/other"), lease_ttl_s=99),
            PRESENT,
            replace(NOTHING, later=("state_dir", "lease.ttl")),
            id="what needs a start",
        ),
        pytest.param(
            replace(SETTINGS, drill=DrillSettings(every_s=60)),
            PRESENT,
            NOTHING,
            id="none of it",
        ),
    ],
)
def test_changes(after: Settings, wanted: dict[str, Path], changes: Changes) -> None:
    assert compare(SETTINGS, after, present=PRESENT, wanted=wanted) == changes


def test_a_configuration_without_a_replica_changes_nothing() -> None:
    with pytest.raises(ConfigError, match="no replica any more"):
        compare(SETTINGS, replace(SETTINGS, replica=None), present=PRESENT, wanted=PRESENT)
