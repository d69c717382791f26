"""
A drill: restore, look, remove; what is not proven is never called good, nor bad.

A backup counts as good when every restore of the drill was done and every check held. It
counts as bad when something was read that nobody has written. Whatever else goes wrong, a
bucket that is away, a full disk, too little time, makes the drill inconclusive.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Protocol

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.durations import format_duration
from obelisk_ops.core.when import Latest
from obelisk_ops.core.words import counted, words_for_bytes
from obelisk_ops.errors import (
    ObjectNotFound,
    OpsError,
    ReplicaNotFound,
    StorageUnavailable,
    Unproven,
)
from obelisk_ops.inspect.meaning import Code
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.replica.reading import read_header, read_headers, read_replica
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.restore import aside
from obelisk_ops.restore.choose import choose
from obelisk_ops.restore.drill.copy import Expected, look_at
from obelisk_ops.restore.drill.result import (
    Drilled,
    Outcome,
    Tried,
    failures,
    outcome_of,
    worst,
)
from obelisk_ops.restore.drill.scratch import scratch
from obelisk_ops.restore.drill.trials import Trial, choose_trials
from obelisk_ops.restore.obtaining import is_fetched_first, obtain
from obelisk_ops.restore.service import Source, captured_ms

#: Litestream may delete what is about to be read; then all is planned again.
_ATTEMPTS = 3
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    How a drill is done.

    Attributes:
        folder: Where copies lie; ``alone_in`` it.
        seed: What chooses the random point.
        limit_s: How long it may take.
        download_bytes: How much it may read from the bucket; None for any amount.
        code: What finished executions are replayed with; None for nothing.
    """

    folder: Path
    seed: int
    limit_s: float
    download_bytes: int | None = None
    code: Code | None = None


class Watch(Protocol):
    """Somebody who looks on."""

    def begins(self, name: str, trial: Trial, number: int, of: int) -> None:
        """Restore *number* of so many begins."""
        ...

    def progress(self, written: int, expected: int) -> None:
        """So many bytes of so many are restored."""
        ...


def drill(source: Source, terms: Terms, *, clock: Clock, watch: Watch) -> Drilled:
    """
    Restore a few points of a replica and check what comes back.

    Raises:
        ReplicaNotFound: There is no such replica.
    """
    run = _Drill(source, terms, clock, watch)
    for left in reversed(range(_ATTEMPTS)):
        try:
            return run.attempt()
        except ReplicaNotFound:
            raise
        except ObjectNotFound as gone:
            if not left:
                return run.told(Outcome.INCONCLUSIVE, detail=gone.message, cause=gone)
        except OpsError as error:
            return run.told(outcome_of(error), detail=error.message, cause=error)
    raise AssertionError


class _Drill:
    def __init__(self, source: Source, terms: Terms, clock: Clock, watch: Watch) -> None:
        self._source, self._terms, self._clock, self._watch = source, terms, clock, watch
        self._at_ms, self._began_ms = clock.now_ms(), clock.elapsed_ms()
        self._known: dict[int, str] = {}  # database ids by epoch
        self._tried: list[Tried] = []

    def attempt(self) -> Drilled:
        """Plan and do all of it."""
        self._tried = []
        store = self._source.store
        replica = read_replica(store, self._source.keys)
        now_ms = self._clock.now_ms()
        newest = choose(replica, Latest(), now_ms=now_ms, at_of=PointTimes(store).at_ms)
        for history in replica.epochs:
            if history.marker and history.marker.database_id:
                self._known[history.epoch] = history.marker.database_id
        trials = choose_trials(replica, newest, Random(self._terms.seed))  # noqa: S311
        affordable = self._affordable(trials)
        for number, trial in enumerate(affordable, 1):
            self._watch.begins(replica.name, trial, number, len(affordable))
            self._tried.append(self._try(trial))
        outcome = worst(tried.outcome for tried in self._tried)
        detail = self._detail(len(trials) - len(affordable))
        cause = next((tried.cause for tried in self._tried if tried.outcome is outcome), None)
        return self.told(outcome, detail=detail, cause=cause)

    def told(self, outcome: Outcome, *, detail: str, cause: OpsError | None) -> Drilled:
        """Return what there is to tell now."""
        return Drilled(
            name=self._source.keys.name, at_ms=self._at_ms, seed=self._terms.seed,
            outcome=outcome, seconds=self._seconds(self._began_ms), tried=tuple(self._tried),
            detail=detail, cause=cause,
        )  # fmt: skip

    def _affordable(self, trials: tuple[Trial, ...]) -> list[Trial]:
        most = self._terms.download_bytes
        if most is None:
            return list(trials)
        found, left = list[Trial](), most
        for trial in trials:
            if trial.download_bytes <= left:
                found.append(trial)
                left -= trial.download_bytes
        if not found or found[0] is not trials[0]:
            raise Unproven(
                f"the newest state is {words_for_bytes(trials[0].download_bytes)} to read, and "
                f"a drill may read {words_for_bytes(most)}",
                hint="raise drill.download",
            )
        return found

    def _detail(self, left_out: int) -> str:
        said = [f"{tried.point}: {tried.detail}" for tried in self._tried if tried.detail]
        if left_out:
            said.append(f"{counted(left_out, 'point')} not tried: too much to read")
        return "; ".join(said)

    def _try(self, trial: Trial) -> Tried:
        began_ms = self._clock.elapsed_ms()
        tried = Tried(
            why=trial.why, epoch=trial.point.epoch, txid=trial.point.txid,
            download_bytes=trial.download_bytes,
        )  # fmt: skip
        try:
            tried = self._restore(trial, tried)
        except ObjectNotFound:
            raise
        except OpsError as error:
            tried = replace(tried, outcome=outcome_of(error), detail=error.message, cause=error)
        return replace(tried, seconds=self._seconds(began_ms))

    def _restore(self, trial: Trial, tried: Tried) -> Tried:
        self._left_s()
        source, began_ms = self._source, self._clock.elapsed_ms()
        read_header(source.store, trial.files[-1])
        answer_ms = self._clock.elapsed_ms() - began_ms
        headers = read_headers(source.store, trial.files)
        files = list(zip(trial.files, headers, strict=True))
        last = files[-1][1]
        with scratch(self._terms.folder) as folder:
            is_fetched = is_fetched_first(
                trial.files, folder, answer_ms=answer_ms, room=_needed_bytes(last),
                pace=source.pace,
            )  # fmt: skip
            fetched = trial.download_bytes if is_fetched else 0
            self._check_space(_needed_bytes(last) + fetched)
            whole = last.database_bytes + fetched
            copy = obtain(
                self._job(trial), folder, lambda done: self._watch.progress(done, whole),
                first=source.store if is_fetched else None, pace=source.pace,
                left_s=self._left_s,
            )  # fmt: skip
            looked = look_at(
                copy,
                Expected(files=files, database_id=self._known.get(trial.point.epoch)),
                code=self._terms.code,
                limit_s=self._left_s(),
            )
        if looked.database_id:
            self._known.setdefault(trial.point.epoch, looked.database_id)
        wrong = failures(looked.checks)
        return replace(
            tried, outcome=Outcome.FAILED if wrong else Outcome.OK, checks=looked.checks,
            captured_ms=captured_ms(PointTimes(self._source.store), trial.point, last),
            executions=looked.meaning.executions,
            replayed=looked.meaning.replayed, detail=wrong,
        )  # fmt: skip

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self._terms.folder).free
        if free < needed:
            raise StorageUnavailable(
                f"{self._terms.folder} has {words_for_bytes(free)} free, a copy needs "
                f"{words_for_bytes(needed)}"
            )

    def _job(self, trial: Trial) -> aside.Job:
        path = self._source.keys.epoch(trial.point.epoch).rstrip("/")
        return aside.Job(
            source=replace(self._source.bucket, path=path), txid=trial.point.txid,
            plan=trial.files, environment=self._source.environment,
        )  # fmt: skip

    def _left_s(self) -> float:
        left = self._terms.limit_s - self._seconds(self._began_ms)
        if left <= 0:
            raise Unproven(
                f"it was not done within {format_duration(self._terms.limit_s)}, the time of "
                "each backup",
                hint="give it more time, as with --within 30m, or drill.timeout of the "
                "configuration",
            )
        return left

    def _seconds(self, since_ms: int) -> float:
        return (self._clock.elapsed_ms() - since_ms) / 1000


def _needed_bytes(last: Header) -> int:
    return last.database_bytes + last.database_bytes // 20 + _SPARE_BYTES
