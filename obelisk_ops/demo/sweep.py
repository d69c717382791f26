"""
A sweep over small models of handwritten digits: the work that the demo protects.

Every attempt of every activity writes a line to an independent file, so that what really
ran can be held against what the log says.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path

from obelisk_ops import Retry, activity, join_set, sleep, workflow

_AT_ONCE = 3


@dataclass(frozen=True)
class Trial:
    """One model to train: a family, its size, and the seed of the split."""

    family: str
    size: int
    seed: int


@dataclass(frozen=True)
class Score:
    """How well one model did on digits that it had not seen."""

    trial: Trial
    accuracy: float


@dataclass(frozen=True)
class Report:
    """What a sweep found: the best model, its accuracy on a second split, all scores."""

    best: Trial
    accuracy: float
    confirmed: float
    scores: list[Score]
    ticket: str


class RegistryBusy(Exception):
    """The model registry wants to be asked again."""


@activity(retry=Retry(max_attempts=3, initial=timedelta(milliseconds=300)))
def train(trial: Trial, ledger: str) -> Score:
    """Train one model and score it."""
    from obelisk_ops.demo.models import accuracy  # noqa: PLC0415 - slow; only workers need it

    with _on_record(ledger):
        return Score(trial, accuracy(trial.family, trial.size, trial.seed))


@activity(retry=Retry(max_attempts=4, initial=timedelta(milliseconds=400)))
def register(score: Score, ledger: str) -> str:
    """Enter a model into the registry, which is always busy at first."""
    with _on_record(ledger):
        if activity.attempt() == 1:
            raise RegistryBusy("try again in a moment")
        return f"model-{score.trial.family}-{score.trial.size}-{score.trial.seed}"


@workflow
async def sweep(trials: list[Trial], ledger: str, cooling_seconds: float) -> Report:
    """Train all, a few at a time; register the best; let it cool; confirm it."""
    scores: list[Score] = []
    async with join_set("trials") as running:
        todo = iter(trials)
        for trial in islice(todo, _AT_ONCE):
            running.submit(train, trial, ledger)
        async for score in running:
            scores.append(score)
            for trial in islice(todo, 1):
                running.submit(train, trial, ledger)
    scores.sort(key=lambda s: (-s.accuracy, s.trial.family, s.trial.size))
    best = scores[0]
    ticket = await register(best, ledger)
    await sleep(timedelta(seconds=cooling_seconds))
    confirmed: list[float] = []
    for seed in (101, 102, 103):
        again = Trial(best.trial.family, best.trial.size, seed)
        confirmed.append((await train(again, ledger)).accuracy)
    return Report(
        best.trial, best.accuracy, round(sum(confirmed) / len(confirmed), 6), scores, ticket
    )


class _on_record:  # noqa: N801 - it reads as a sentence where it is used
    """Write the begin and the end of an attempt to the independent file, with fsync."""

    def __init__(self, ledger: str) -> None:
        self._path = Path(ledger)
        self._who = {"call": activity.idempotency_key(), "attempt": activity.attempt()}

    def __enter__(self) -> None:
        self._write("began")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._write("failed" if error else "ended")

    def _write(self, what: str) -> None:
        line = json.dumps(self._who | {"what": what}) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
