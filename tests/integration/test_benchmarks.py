"""
Every measured program of ``make bench``, at a tiny size.

Figures are not asserted, they depend on the machine and its neighbours; only what a mistake
would break by far: counts always, times and ratios of them where nothing else runs. What takes
a moment is not interrupted on a busy machine, and what it is compared with takes many turns.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import goals, program, workflows
from benchmarks.children import ROOT
from benchmarks.programs.fleet import requests_of

pytestmark = pytest.mark.bench

Guards = dict[str, tuple[float | None, float | None]]

#: figure → (least, most); far from what is promised
COUNTS: Guards = {
    "concurrent.async.wal_bytes": (1, 4096),
    "volume.1024.db_bytes": (20, 250),
    "volume.1024.wal_bytes": (500, 8192),
    "idle.writes": (None, 0),
    "memory.unloaded_bytes": (None, 100_000),
}
TIMES: Guards = {
    "sequential.async.of_bare": (0.1, None),
    "sequential.def.of_bare": (0.05, None),
    "concurrent.async.rate": (200, None),
    "replay.of_bare": (None, 60),
    "recovery.seconds": (None, 20),
    "idle.cpu_percent": (None, 20),
    "fleet.restart_s": (None, 30),
    "fleet.new_database_s": (None, 20),
    "restore.of_litestream": (0.2, 100),
    "search.again_s": (None, 20),
}


@pytest.mark.parametrize("name", program.NAMES)
def test_a_program_measures_what_the_goals_ask_for(name: str, tmp_path: Path) -> None:
    found = program.run(name, "tiny", tmp_path)

    wanted = {goal.figure for goal in goals.GOALS if goal.figure.startswith(f"{name}.")}
    assert wanted - goals.BESIDE_PEERS <= set(found)
    check(found, COUNTS)


@pytest.mark.chaos  # alone: beside other tests it would be those that are measured
@pytest.mark.parametrize("name", sorted({figure.partition(".")[0] for figure in TIMES}))
def test_a_program_takes_no_time_that_only_a_mistake_can_take(
    name: str, tmp_path: Path
) -> None:
    check(program.run(name, "tiny", tmp_path), TIMES)


def check(found: Mapping[str, float], guards: Guards) -> None:
    for figure, (least, most) in guards.items():
        if figure in found:
            assert least is None or found[figure] >= least, figure
            assert most is None or found[figure] <= most, figure


def test_no_program_is_taken_for_a_test() -> None:
    """Engines would watch the code of all workflows, which takes as long as all else."""
    names = "".join(f"import benchmarks.programs.{name}\n" for name in program.NAMES)
    code = f"{names}from benchmarks import program\nprogram.refuse_tests()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_program_may_follow_another_one(tmp_path: Path) -> None:
    workflows.held.append(0)  # as recovery leaves it

    assert program.run("replay", "tiny", tmp_path)


def test_requests_are_counted_as_the_s3_server_tells_of_them() -> None:
    metrics = """
# TYPE SeaweedFS_s3_request_total counter
SeaweedFS_s3_request_total{bucket="bench",code="200",type="LIST"} 6
SeaweedFS_s3_request_total{bucket="bench",code="404",type="PUT"} 1.2e+03
SeaweedFS_s3_request_seconds_count{bucket="bench",type="LIST"} 6
"""

    assert requests_of(metrics) == 1_206


def test_the_best_peer_is_the_one_compared_with() -> None:
    figures = {
        "ours": {"concurrent.async.rate": 20_000.0},
        "slow": {"concurrent.async.rate": 100.0},
        "fast": {"concurrent.def.rate": 2000.0},
    }

    assert goals.of_best_peer(figures) == 10
    assert goals.of_best_peer({"ours": {"concurrent.async.rate": 1.0}}) is None
