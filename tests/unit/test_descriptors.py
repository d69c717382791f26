"""How many files a fleet has open, and what happens when that is too many."""

from __future__ import annotations

import pytest

from obelisk_ops import process
from obelisk_ops.errors import TooManyFiles
from obelisk_ops.supervise.descriptors import Descriptors, most_in_one_process, needed


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        pytest.param([], 200, id="none"),
        pytest.param(["a"], 207, id="Litestream needs more than we do"),
        pytest.param([f"g{n}" for n in range(1000)], 5_200, id="a thousand processes"),
        pytest.param([f"g{n % 7}" for n in range(1000)], 2_221, id="a thousand in seven"),
    ],
)
def test_open_files(groups: list[str], files: int) -> None:
    assert needed(groups) == files


def test_of_too_few_files_some_are_kept_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "raise_file_limit", lambda wanted: min(wanted, 100))
    files = Descriptors()

    assert files.provide_for(["a"] * 40)
    assert not files.provide_for(["a"] * 41), "said once"
    for _ in range(18):
        files.take(2)
    with pytest.raises(TooManyFiles, match="not looked after") as refused:
        files.take(2)
    files.give_back(2)
    files.take(2)

    assert "LimitNOFILE" in refused.value.hint


def test_nothing_is_refused_while_the_limit_is_high_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "raise_file_limit", lambda wanted: wanted)
    files = Descriptors()

    assert not files.provide_for(["a"] * 40)
    files.take(10_000)
    assert files.shortage is None


@pytest.mark.parametrize(("limit", "databases"), [(10, 1), (72, 5), (1024, 124)])
def test_a_process_gets_no_more_databases_than_it_can_open(
    monkeypatch: pytest.MonkeyPatch, limit: int, databases: int
) -> None:
    monkeypatch.setattr(process, "most_files", lambda: limit)

    assert most_in_one_process() == databases
