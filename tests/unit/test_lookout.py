"""When it is time to look for new databases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from obelisk_ops.settings import DatabaseSettings, Settings, folders_looked_at
from obelisk_ops.supervise.lookout import Lookout


def settings(folder: Path, *patterns: str) -> Settings:
    entries = tuple(
        DatabaseSettings(path=str(folder / pattern), name="{stem}") for pattern in patterns
    )
    return Settings(path=folder / "obelisk-ops.yml", state_dir=folder, databases=entries)


@pytest.mark.parametrize(
    ("patterns", "folders"),
    [
        pytest.param(["runs/*.db"], {"runs"}, id="a glob"),
        pytest.param(["runs/*.db", "one.db", "runs/x.db"], {"runs", ""}, id="several"),
        pytest.param([], set(), id="none"),
        pytest.param(["*/exp.db"], None, id="any folder"),
        pytest.param(["runs/**/*.db"], None, id="any below"),
        pytest.param(["runs/**"], None, id="everything below"),
    ],
)
def test_folders(tmp_path: Path, patterns: list[str], folders: set[str] | None) -> None:
    found = folders_looked_at(settings(tmp_path, *patterns))

    assert found == (None if folders is None else {str(tmp_path / name) for name in folders})


def test_a_change_is_seen_at_once_and_stillness_is_not_believed_for_long(
    tmp_path: Path,
) -> None:
    lookout, wanted = Lookout(), settings(tmp_path, "*.db")
    os.utime(tmp_path, (1, 1))

    assert lookout.is_due(wanted, now_ms=0)
    assert not lookout.is_due(wanted, now_ms=1_000)
    os.utime(tmp_path, (2, 2))
    assert lookout.is_due(wanted, now_ms=1_100)
    assert not lookout.is_due(wanted, now_ms=2_500)
    assert lookout.is_due(wanted, now_ms=2_600)


def test_other_settings_are_a_change(tmp_path: Path) -> None:
    lookout = Lookout()
    lookout.is_due(settings(tmp_path, "*.db"), now_ms=0)

    assert lookout.is_due(settings(tmp_path, "more/*.db"), now_ms=100)


def test_where_any_folder_may_matter_it_looks_again_and_again(tmp_path: Path) -> None:
    lookout, wanted = Lookout(), settings(tmp_path, "**/*.db")

    due = [now_ms for now_ms in range(0, 2_000, 200) if lookout.is_due(wanted, now_ms=now_ms)]

    assert due == [0, 600, 1_200, 1_800]
