"""What a drill may take, and a bucket that goes away in the middle of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.words import counted
from obelisk_ops.errors import S3Unavailable
from obelisk_ops.restore.drill.result import Drilled, Outcome
from obelisk_ops.restore.drill.scratch import alone_in
from obelisk_ops.restore.drill.service import Terms, drill
from obelisk_ops.restore.drill.trials import Trial
from obelisk_ops.restore.source import open_source
from obelisk_ops.settings import ReplicaSettings
from tests.conftest import S3
from tests.faults import CutAfter
from tests.proxy import Mode, Proxy
from tests.replicas import ReplicatedDatabase

POINTS = 4
LIMIT_S = 60.0
#: How long Litestream may write nothing before it is given up.
SILENCE_S = 25.0
MIB = 1 << 20


class Onlooker:
    """Does something when a restore of the drill begins."""

    def __init__(
        self,
        then: Callable[[int], None] = lambda _: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self.begun: list[Trial] = []
        self._then, self._meanwhile = then, meanwhile

    def begins(self, name: str, trial: Trial, number: int, of: int) -> None:
        """See Watch."""
        self.begun.append(trial)
        self._then(number)

    def progress(self, written: int, expected: int) -> None:
        """See Watch."""
        self._meanwhile()


@pytest.fixture(scope="module")
def made(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    database = ReplicatedDatabase(tmp_path_factory.mktemp("limits"), s3.replica())
    for _ in range(POINTS):
        database.fill(20)
        database.ship()
    database.close()
    return database


def drilled(
    place: ReplicaSettings, folder: Path, watch: Onlooker, *, download: int | None = None,
    limit_s: float = LIMIT_S, rate: int | None = None,
) -> Drilled:  # fmt: skip
    terms = Terms(
        folder=folder / "drills", seed=1, limit_s=limit_s,
        download_bytes=download,
    )  # fmt: skip
    source = open_source(place, "run", rate=rate)
    with alone_in(terms.folder):
        return drill(source, terms, clock=SystemClock(), watch=watch)


def test_what_is_too_much_to_read_is_left_out_and_said_to_be(
    made: ReplicatedDatabase, tmp_path: Path
) -> None:
    free = Onlooker()
    assert drilled(made.place, tmp_path, free).outcome is Outcome.OK
    newest, *others = free.begun
    assert others, "there is something to leave out"
    watch = Onlooker()

    found = drilled(made.place, tmp_path, watch, download=newest.download_bytes)

    assert watch.begun == [newest], "the newest state comes first"
    assert sum(tried.download_bytes for tried in found.tried) <= newest.download_bytes
    assert found.outcome is Outcome.OK
    assert found.detail == f"{counted(len(others), 'point')} not tried: too much to read"


def test_nothing_is_proven_if_not_even_the_newest_state_may_be_read(
    made: ReplicatedDatabase, tmp_path: Path
) -> None:
    watch = Onlooker()

    found = drilled(made.place, tmp_path, watch, download=100)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert "a drill may read 100 bytes" in found.detail
    assert watch.begun == []


@pytest.mark.fault(1, 4)
@pytest.mark.parametrize("mode", ["refuse", "reset"])
def test_a_bucket_that_goes_away_in_the_middle_proves_nothing(
    made: ReplicatedDatabase, s3: S3, tmp_path: Path, mode: Mode
) -> None:
    """What was restored by then is told; a backup is not called bad for it."""
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        watch = Onlooker(lambda number: line.set(mode) if number > 1 else None)

        found = drilled(replace(made.place, endpoint=line.endpoint), tmp_path, watch)

    first, second, *_ = found.tried
    assert (first.outcome, second.outcome) == (Outcome.OK, Outcome.INCONCLUSIVE)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert isinstance(found.cause, S3Unavailable)


@pytest.mark.fault(4)
def test_a_line_that_breaks_within_every_object_proves_nothing(
    made: ReplicatedDatabase, s3: S3, tmp_path: Path
) -> None:
    """Litestream fails to decode what it got of it, which looks like damage."""
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        place = replace(made.place, endpoint=line.endpoint)
        with line.fault(CutAfter(150), method="GET", path=r"\.ltx$") as cut:
            found = drilled(place, tmp_path, Onlooker(), download=_newest_bytes(made))

    assert cut.hits > 0
    assert found.outcome is Outcome.INCONCLUSIVE, found.detail
    assert isinstance(found.cause, S3Unavailable)


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    "rate", [pytest.param(None, id="read"), pytest.param(MIB, id="fetched")]
)
def test_a_line_that_falls_silent_holds_no_drill_up(
    made: ReplicatedDatabase, s3: S3, tmp_path: Path, rate: int | None
) -> None:
    """Litestream and a line of ours wait for half a minute and more; a drill has its time."""
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        place = replace(made.place, endpoint=line.endpoint)
        watch = Onlooker(meanwhile=lambda: line.set("blackhole"))

        found = drilled(place, tmp_path, watch, limit_s=2, rate=rate)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert "it was not done within 2s" in found.detail
    assert found.seconds < SILENCE_S


@pytest.mark.parametrize("rate", [None, MIB])
def test_what_is_fetched_is_proven_like_what_is_read(
    made: ReplicatedDatabase, s3: S3, tmp_path: Path, rate: int | None
) -> None:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        place = replace(made.place, endpoint=line.endpoint)

        found = drilled(place, tmp_path, Onlooker(), rate=rate)

    assert found.outcome is Outcome.OK, found.detail
    assert any("litestream" in seen.agent for seen in line.seen) is (rate is None)


def _newest_bytes(made: ReplicatedDatabase) -> int:
    """What one restore of the newest state reads: enough for no other."""
    return sum(info.size for info in made.store.list(made.keys.level(1, 0)))
