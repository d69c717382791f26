"""
What has to be on this disk before a program may start: restored where it is missing.

The decision is pure. What exists is kept, whatever it is; what is missing comes from the
bucket; and a program begins with nothing only where nothing ever was: in an empty bucket, or
where somebody said so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.when import Latest
from obelisk_ops.errors import (
    Fenced,
    OpsError,
    ReplicaNotFound,
    RestorePointNotFound,
    StorageUnavailable,
    TargetExists,
)
from obelisk_ops.replica.expectation import Traces, expect, read_traces
from obelisk_ops.restore import service
from obelisk_ops.restore.service import Restored, Source
from obelisk_ops.restore.target import SIDECARS, check_target
from obelisk_ops.supervise.identity import host
from obelisk_ops.supervise.sidecar import Sidecar

Watch: TypeAlias = Callable[[str], AbstractContextManager[service.Progress]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """
    A database whose file is missing or empty.

    Attributes:
        name: Its name.
        path: Where it is to be.
        is_empty: There is a file, of no bytes.
        place: The prefix in the bucket, for people.
    """

    name: str
    path: Path
    is_empty: bool
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """It is restored to its newest state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The program makes it; *is_news* if the bucket is to be told that it will come."""

    is_news: bool


def decide(missing: Missing, traces: Traces, *, may_begin: bool) -> Restore | Begin | OpsError:
    """
    Return what is done about a database that is not there, or why nothing may be done.

    Args:
        missing: The database.
        traces: What the bucket holds under its name.
        may_begin: Whether somebody says that this is the first start.
    """
    if traces.was_opened:
        return _empty_beside_backup(missing) if missing.is_empty else Restore()
    if traces.strangers:
        return Fenced(
            f"{missing.place} holds '{traces.strangers[0]}', and no marker says whose it is",
            hint="choose another prefix or name: histories that are mixed cannot be restored",
        )
    if traces.is_expected or traces.is_bucket_empty or may_begin:
        return Begin(is_news=not traces.is_expected)
    return ReplicaNotFound(
        f"there is neither a file {missing.path} nor a backup at {missing.place}",
        hint="if bucket and prefix are right and this is the first start of all, say so once "
        "with --first-boot",
    )


def missing_databases(databases: Mapping[str, Path], place: str) -> list[Missing]:
    """
    Return the databases whose files are missing or empty. Their folders may be missing too.

    Raises:
        TargetExists: Something else than a file is in the place of one.
        StaleSidecar: A side file of a database that was here is in the way.
    """
    found = []
    for name, path in databases.items():
        is_file = path.is_file()
        if is_file and path.stat().st_size > 0:
            continue
        if not is_file and path.parent.is_dir():
            check_target(path)
        found.append(Missing(name=name, path=path, is_empty=is_file, place=f"{place}/{name}"))
    return found


def restore_missing(
    missing: Iterable[Missing],
    open_source: Callable[[str], Source],
    *,
    may_begin: bool,
    clock: Clock,
    watch: Watch,
) -> dict[str, Restored | None]:
    """
    Restore what is missing; first all is decided, then something is done.

    Args:
        missing: The databases that are not there.
        open_source: Opens the replica of one name.
        may_begin: Whether somebody says that this is the first start.
        clock: The time.
        watch: Gives what is told how far the restore of one name is.

    Returns:
        What was restored, by name; None for what the program is to make.

    Raises:
        OpsError: Nothing may be done, or it failed; what was restored before stays.
    """
    steps: list[tuple[Missing, Source, Restore | Begin]] = []
    for case in missing:
        source = open_source(case.name)
        step = decide(case, read_traces(source.store, source.keys), may_begin=may_begin)
        if isinstance(step, OpsError):
            raise step
        steps.append((case, source, step))
    done: dict[str, Restored | None] = {}
    for case, source, step in steps:
        done[case.name] = None
        _make_folder(case.path.parent)
        if isinstance(step, Restore):
            done[case.name] = _restore(case, source, clock, watch)
        elif step.is_news:
            expect(source.store, source.keys, host=host(), now_ms=clock.now_ms())
    return done


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnavailable(
            f"{folder} cannot be made: {error.strerror}",
            hint="check the path of the database, and who may write there",
        ) from None


def _restore(missing: Missing, source: Source, clock: Clock, watch: Watch) -> Restored:
    with watch(missing.name) as progress:
        try:
            return service.restore(
                source, Latest(), missing.path, clock=clock, progress=progress, claim=0
            )
        except RestorePointNotFound as nothing:
            raise RestorePointNotFound(
                f"{nothing.message}; there was a database, and nothing of it was ever shipped",
                hint="bring its file back; if it is lost, begin anew with --no-restore",
            ) from None


def discard(paths: Iterable[Path]) -> None:
    """
    Remove copies that were restored for a program that was then not started.

    The next start finds a file that exists to be right, and is to have the newest state. A
    copy for which an epoch was opened stays: nobody else can have gone on since.
    """
    for path in paths:
        if Sidecar(path).owner() is None:
            for suffix in ("", *SIDECARS):
                path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _empty_beside_backup(missing: Missing) -> OpsError:
    return TargetExists(
        f"{missing.path} is empty, and there is a backup of it at {missing.place}",
        hint=f"remove it, then it is restored: rm {missing.path}",
    )
