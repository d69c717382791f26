"""``obelisk-ops replica``: what is in the bucket."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from obelisk_ops import settings
from obelisk_ops.cli.drill import drill
from obelisk_ops.cli.options import LIMIT
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.reading import instant
from obelisk_ops.cli.replica_prune import prune_command
from obelisk_ops.cli.verify import verify_command
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.durations import format_duration
from obelisk_ops.core.when import Txid
from obelisk_ops.errors import DamagedObject, InvalidWhen
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.replica.catalogue import Point, Replica
from obelisk_ops.replica.epochs import list_replicas
from obelisk_ops.replica.granularity import Band, granularity
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.replica.window import within
from obelisk_ops.restore.source import open_source, open_times, replica_settings

#: Reading one exact time costs a request; so many are read without being asked for.
_EXACT_WITHOUT_ASKING = 200

limit_option = click.option("--limit", type=LIMIT, metavar="N", help="Show N at most.")


@click.group
def replica() -> None:
    """What is in the bucket: backups and the moments they can be restored to."""


replica.add_command(verify_command)
replica.add_command(drill)
replica.add_command(prune_command)


@replica.command("list")
@limit_option
@click.option("--after", metavar="NAME", default="", help="Go on behind this name.")
@json_option
@click.pass_obj
def list_command(config: Path | None, limit: int | None, after: str, *, as_json: bool) -> None:
    """List the backups in the bucket, with the window each can be restored to."""
    place = replica_settings(settings.load(config))
    store = open_store(place)
    names = [name for name in list_replicas(store, place.prefix) if name > after]
    told: list[dict[str, Any]] = []
    damaged: list[DamagedObject] = []
    for name in names[:limit]:
        try:
            told.append(_told(store, ReplicaKeys(prefix=place.prefix, name=name)))
        except DamagedObject as damage:
            damaged.append(damage)
    if as_json:
        print_json({"replicas": told})
    else:
        _show_replicas(told)
    if damaged:
        raise damaged[0]


@replica.command
@click.argument("name")
@limit_option
@click.option(
    "--after", metavar="POINT", help="Go on behind this point, such as e0001/txid:236."
)
@click.option("--since", metavar="WHEN", help="Only what was captured since, as in '2h ago'.")
@click.option("--until", metavar="WHEN", help="Only what was captured until then.")
@click.option(
    "--exact/--listed", "exact", default=None,
    help="Read when each point was captured, one request each, and remember it here; or read "
    "nothing, and say when it arrived in the bucket where no more is known. Without either: "
    f"exact if no more than {_EXACT_WITHOUT_ASKING} have to be read.",
)  # fmt: skip
@json_option
@click.pass_obj
def points(
    config: Path | None, /, name: str, *, limit: int | None, after: str | None,
    exact: bool | None, as_json: bool, **span: str | None,
) -> None:  # fmt: skip
    """
    List the states that the backup NAME can be restored to, oldest first, and its gaps.

    Then how close together they are, the further back one looks. A point that is marked
    'orphaned' is later than the one at which the next epoch branched: it is restored where
    its epoch is named (e0001/txid:9), and never chosen by a time.
    """
    bounds = {f"{end}_ms": instant(text) if text else None for end, text in span.items()}
    place = replica_settings(settings.load(config))
    source = open_source(place, name)
    found = read_replica(source.store, source.keys)
    times = open_times(place, source)
    at_of = times.best_ms if exact is False else times.read_ms
    inside = within(found, at_of=at_of, **bounds)
    behind = _position(after, found)
    shown = list(islice((p for p in inside if (p.epoch, p.txid) > behind), limit))
    if exact or (exact is None and times.unknown(shown) <= _EXACT_WITHOUT_ASKING):
        times.fetch(shown)
    times.keep(file for epoch in found.epochs for file in epoch.files)
    told = _points_told(found, shown, times)
    if as_json:
        print_json(told)
    else:
        _show_points(told)


def _show_replicas(told: list[dict[str, Any]]) -> None:
    print_table(
        ("name", "epoch", "owner", "oldest", "newest", "txid", "size", "objects"),
        [[*list(row.values())[:6], decimal(row["bytes"]), row["objects"]] for row in told],
    )


def _told(store: ObjectStore, keys: ReplicaKeys) -> dict[str, Any]:
    found = read_replica(store, keys)
    ends = found.lineage[:1] + found.lineage[-1:]
    times = PointTimes(store)
    times.fetch(ends)
    window = [iso(times.best_ms(point)) for point in ends]
    return {
        "name": found.name, "epoch": found.current.epoch if found.current else None,
        "owner": found.owner,
        "oldest": window[0] if window else None, "newest": window[-1] if window else None,
        "txid": ends[-1].txid if ends else None, "bytes": found.size, "objects": found.objects,
    }  # fmt: skip


def _points_told(found: Replica, shown: list[Point], times: PointTimes) -> dict[str, Any]:
    now_ms = SystemClock().now_ms()
    return {
        "name": found.name,
        "epoch": found.current.epoch if found.current else None,
        "points": [_point(point, times) for point in shown],
        "gaps": [
            {"epoch": gap.epoch, "after_txid": gap.after_txid, "before_txid": gap.before_txid}
            for gap in found.gaps
            if not gap.is_pending
        ],
        "granularity": [
            _band(band) for band in granularity(map(times.best_ms, found.lineage), now_ms)
        ],
    }


def _point(point: Point, times: PointTimes) -> dict[str, Any]:
    return {
        "epoch": point.epoch, "txid": point.txid, "at": iso(times.best_ms(point)),
        "at_source": "exact" if times.is_exact(point) else "listed",
        "level": point.level, "orphaned": point.orphaned,
    }  # fmt: skip


def _band(band: Band) -> dict[str, Any]:
    return {
        "since_age_seconds": _seconds(band.since_age_ms),
        "until_age_seconds": _seconds(band.until_age_ms), "points": band.points,
        "typical_seconds": _seconds(band.typical_ms),
        "longest_seconds": _seconds(band.longest_ms),
    }  # fmt: skip


def _seconds(span_ms: int | None) -> float | None:
    return None if span_ms is None else span_ms / 1000


def _position(after: str | None, found: Replica) -> tuple[int, int]:
    if after is None:
        return (0, 0)
    wish = when.parse(after, SystemClock().now_ms())
    if not isinstance(wish, Txid):
        raise InvalidWhen(f"--after {after!r} is not a point", hint="write e0001/txid:236")
    current = found.current.epoch if found.current else 0
    return (wish.epoch if wish.epoch is not None else current, wish.txid)


def _show_points(told: dict[str, Any]) -> None:
    print_table(
        ("point", "at", "source", "level", ""),
        [
            (
                when.show(Txid(row["txid"], row["epoch"])), row["at"], row["at_source"],
                row["level"], "orphaned" if row["orphaned"] else "",
            )
            for row in told["points"]
        ],
    )  # fmt: skip
    for gap in told["gaps"]:
        note(
            f"gap in epoch {gap['epoch']}: the transactions {gap['after_txid'] + 1} to "
            f"{gap['before_txid'] - 1} are missing"
        )
    if told["granularity"]:
        click.echo()
    print_table(
        ("age", "points", "one every", "longest without"),
        [
            (_ages(band), band["points"], *(_span(band[name]) for name in _DISTANCES))
            for band in told["granularity"]
        ],
    )


_DISTANCES = ("typical_seconds", "longest_seconds")


def _ages(band: dict[str, Any]) -> str:
    since, until = band["since_age_seconds"], band["until_age_seconds"]
    if until is None:
        return f"more than {_span(since)}"
    return f"{_span(since)} to {_span(until)}" if since else f"up to {_span(until)}"


def _span(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return format_duration(round(seconds) if seconds >= 1 else seconds)
