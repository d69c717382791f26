"""``replica verify``: every object of a backup, read and proven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.restore import terminated_like_interrupted
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.when import Txid, show
from obelisk_ops.core.words import counted
from obelisk_ops.errors import VerificationFailed
from obelisk_ops.replica.catalogue import Point
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.restore.source import open_source, replica_settings
from obelisk_ops.restore.verify.damage import Span
from obelisk_ops.restore.verify.parts import parse_part
from obelisk_ops.restore.verify.service import (
    DAMAGED,
    FOREIGN,
    Finding,
    Verified,
    Watch,
    verify,
)
from obelisk_ops.settings import load

_SHOWN_OBJECTS = 3


@click.command("verify")
@click.argument("name")
@click.option(
    "--subset", "part", metavar="N/T",
    help="Read only part N of T; each object is in one of them, always the same.",
)  # fmt: skip
@json_option
@click.pass_obj
def verify_command(config: Path | None, name: str, *, part: str | None, as_json: bool) -> None:
    """
    Read every object of the backup NAME, and hold those against each other that say the same.

    Checksums, gaps, objects of other databases under the right name; and which restore points
    are lost by what is wrong. Nothing is restored or written. Exit 10 if anything is wrong.
    """
    chosen = parse_part(part) if part is not None else None
    place = replica_settings(load(config))
    source = open_source(place, name)
    with terminated_like_interrupted(), _bar(name) as watch:
        found = verify(source, chosen, clock=SystemClock(), watch=watch)
    times = PointTimes(source.store)
    times.fetch(_ends(found))
    if as_json:
        print_json(_shape(found, part, times, place.bucket))
    else:
        _show(found, times, place.bucket)
    if found.findings:
        raise VerificationFailed(_verdict(found), hint=_hint(found))


def _ends(found: Verified) -> list[Point]:
    spans = [span for finding in found.findings for span in finding.cost.lost]
    return [point for span in spans for point in (span.first, span.last)]


def _shape(found: Verified, part: str | None, times: PointTimes, bucket: str) -> dict[str, Any]:
    return {
        "name": found.name, "outcome": "damaged" if found.findings else "ok",
        "at": iso(found.at_ms), "seconds": round(found.seconds, 3), "subset": part,
        "objects": found.objects, "checked": found.checked, "alone": len(found.alone),
        "bytes": found.checked_bytes, "points": found.points,
        "findings": [
            {
                "kind": finding.kind, "epoch": finding.epoch, "why": finding.why,
                "keys": [file.key for file in finding.files],
                "lost": [_span(span, times) for span in finding.cost.lost],
                "lost_points": finding.cost.points, "regained_points": finding.cost.regained,
                "repair": _repair(finding, bucket),
                "write_off": _write_off(finding, found.epoch, bucket),
            }
            for finding in found.findings
        ],
        "notices": list(found.notices),
    }  # fmt: skip


def _span(span: Span, times: PointTimes) -> dict[str, Any]:
    return {
        "from": {"point": _named(span.first), "at": iso(times.best_ms(span.first))},
        "to": {"point": _named(span.last), "at": iso(times.best_ms(span.last))},
        "points": span.points,
    }


def _named(point: Point) -> str:
    return show(Txid(point.txid, point.epoch))


def _show(found: Verified, times: PointTimes, bucket: str) -> None:
    what = f"{found.checked} of {counted(found.objects, 'object')}"
    rows: list[tuple[object, ...]] = [
        ("read", f"{what}, {decimal(found.checked_bytes)}, in {found.seconds:.1f}s"),
        ("of these alone", f"{len(found.alone)}; nothing else there says the same"),
        ("restore points", found.points),
        ("wrong", counted(len(found.findings), "finding")),
    ]
    print_table((found.name, ""), rows)
    for finding in found.findings:
        _tell(finding, times, bucket)
        write_off = _write_off(finding, found.epoch, bucket)
        if write_off:
            click.echo(
                f"  gone    {write_off}  (what is lost stays lost; drills no longer try it)"
            )
    for notice in found.notices:
        note(notice)


def _tell(finding: Finding, times: PointTimes, bucket: str) -> None:
    keys = [file.key for file in finding.files]
    click.echo(f"\n{finding.kind} in epoch {finding.epoch}: {finding.why}")
    for key in keys[:_SHOWN_OBJECTS]:
        click.echo(f"  object  {key}")
    if len(keys) > _SHOWN_OBJECTS:
        click.echo(f"          and {len(keys) - _SHOWN_OBJECTS} more; one of them is wrong")
    for span in finding.cost.lost:
        click.echo(f"  lost    {_words(span, times)}")
    if keys and not finding.cost.lost:
        click.echo("  lost    nothing: no restore reads it")
    repair = _repair(finding, bucket)
    if repair:
        gain = counted(finding.cost.regained, "point")
        click.echo(f"  repair  {repair}  (gives {gain} back)")


def _words(span: Span, times: PointTimes) -> str:
    first, last = iso(times.best_ms(span.first)), iso(times.best_ms(span.last))
    if span.points == 1:
        return f"{first} ({_named(span.first)})"
    return (
        f"{first} to {last} ({counted(span.points, 'point')}, {_named(span.first)} to "
        f"{_named(span.last)})"
    )


def _repair(finding: Finding, bucket: str) -> str | None:
    """Return what gives points back: without the bad object another way leads there."""
    if len(finding.files) != 1 or not finding.cost.regained:
        return None
    return f"aws s3 rm s3://{bucket}/{finding.files[0].key}"


def _write_off(finding: Finding, live_from: int, bucket: str) -> str | None:
    """
    Return what takes points that are lost for good out of the list of what can be restored.

    Only in a closed epoch: from an object of the present one Litestream may still go on.
    """
    is_certain = finding.kind in (DAMAGED, FOREIGN) and len(finding.files) == 1
    if not is_certain or finding.cost.regained or finding.epoch >= live_from:
        return None
    return f"aws s3 rm s3://{bucket}/{finding.files[0].key}"


def _verdict(found: Verified) -> str:
    first = found.findings[0]
    lost = sum(finding.cost.points for finding in found.findings)
    more = len(found.findings) - 1
    also = f", and {counted(more, 'finding')} more" if more else ""
    what = f"; {counted(lost, 'restore point')} of {found.points} lost" if lost else ""
    return f"'{found.name}' is damaged: {first.why}{also}{what}"


def _hint(found: Verified) -> str:
    if any(finding.cost.lost for finding in found.findings):
        return "other points do not need it; see docs/how-to/prove-that-it-can-be-restored.md"
    return "see docs/how-to/prove-that-it-can-be-restored.md"


@contextmanager
def _bar(name: str) -> Iterator[Watch]:
    console = Console(stderr=True)
    with Progress(
        "verifying", BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
