"""What this machine remembers of the files of a replica, and when it does not believe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.replica import known
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.known import KnownTimes

PLACE = "http://s3 s3://bucket/prefix/run"


def file(txid: int) -> LtxFile:
    return LtxFile(
        epoch=1, level=0, min_txid=txid, max_txid=txid, key=f"run/{txid}.ltx", size=200,
        modified_ms=7_000, etag=f'"{txid}"',
    )  # fmt: skip


FILES = [file(txid) for txid in (1, 2, 3)]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder, with the times of FILES."""
    times = KnownTimes(tmp_path / "cache" / "times", PLACE)
    for number, each in enumerate(FILES):
        times.learn(each, 6_000 + number)
    times.save(FILES)
    return tmp_path / "cache" / "times"


def remembered(folder: Path, place: str = PLACE) -> list[int | None]:
    times = KnownTimes(folder, place)
    return [times.get(each) for each in FILES]


def test_what_was_read_is_remembered_privately(saved: Path) -> None:
    assert remembered(saved) == [6_000, 6_001, 6_002]
    (kept,) = saved.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert saved.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "change", [{"etag": '"other"'}, {"size": 201}, {"modified_ms": 8_000}, {"key": "run/9.ltx"}]
)
def test_another_object_is_not_the_one_that_was_read(
    saved: Path, change: dict[str, str | int]
) -> None:
    assert KnownTimes(saved, PLACE).get(replace(FILES[0], **change)) is None  # type: ignore[arg-type]


def test_an_object_without_an_etag_is_read_each_time(tmp_path: Path) -> None:
    bare = replace(FILES[0], etag="")
    times = KnownTimes(tmp_path, PLACE)
    times.learn(bare, 5)
    times.save([bare])

    assert KnownTimes(tmp_path, PLACE).get(bare) is None


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda _: b"",
    lambda body: body[:-1],
    lambda body: body.replace(b"6001", b"6009"),
    lambda body: b"\xff" + body,
    lambda _: b"{}\n[]",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_thrown_away(saved: Path, damage: Callable[[bytes], bytes]) -> None:
    (kept,) = saved.iterdir()
    kept.write_bytes(damage(kept.read_bytes()))

    assert remembered(saved) == [None, None, None]
    times = KnownTimes(saved, PLACE)
    times.learn(FILES[0], 1)
    times.save(FILES)
    assert remembered(saved) == [1, None, None]


def test_a_file_of_another_place_or_form_is_thrown_away(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = saved.iterdir()
    other = KnownTimes(saved, "elsewhere")
    assert other.get(FILES[0]) is None
    other.learn(FILES[0], 1)
    other.save(FILES)
    foreign = next(each for each in saved.iterdir() if each != kept)
    kept.write_bytes(foreign.read_bytes())
    assert remembered(saved) == [None, None, None]

    monkeypatch.setattr(known, "_FORM", 2)
    assert remembered(saved, "elsewhere") == [None, None, None]


def test_what_is_not_listed_any_more_is_forgotten(saved: Path) -> None:
    times = KnownTimes(saved, PLACE)
    times.learn(FILES[2], 9)
    times.save(FILES[1:])

    assert remembered(saved) == [None, 6_001, 9]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    times = KnownTimes(blocked / "times", PLACE)

    times.learn(FILES[0], 1)
    times.save(FILES)

    assert times.get(FILES[0]) == 1
    assert KnownTimes(None, PLACE).get(FILES[0]) is None


def test_it_does_not_grow_without_limit(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = saved.iterdir()
    monkeypatch.setattr(known, "_FILES_MAX", 2)
    monkeypatch.setattr(known, "_FOLDER_BYTES_MAX", first.stat().st_size)
    times = KnownTimes(saved, "elsewhere")
    for each in FILES:
        times.learn(each, 1)

    times.save(FILES)

    assert remembered(saved, "elsewhere") == [None, 1, 1]
    assert not first.exists(), "the least recently written goes first"
