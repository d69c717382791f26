"""``obelisk-ops replica``: what is in the bucket."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from obelisk_ops import settings
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.when import Txid
from obelisk_ops.errors import DamagedObject, InvalidWhen
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.replica.catalogue import Point, Replica
from obelisk_ops.replica.epochs import list_replicas
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import PointTimes, read_replica
from obelisk_ops.restore.source import open_source, replica_settings

#: Reading one exact time costs a request; so many are read without being asked for.
_EXACT_WITHOUT_ASKING = 200

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Show N at most."
)


@click.group
def replica() -> None:
    """What is in the bucket: backups and the moments they can be restored to."""


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
@click.option(
    "--exact/--listed", "exact", default=None,
    help="Read when each point was captured, one request each; or say when it arrived in the "
    f"bucket. Without either: exact for up to {_EXACT_WITHOUT_ASKING} points.",
)  # fmt: skip
@json_option
@click.pass_obj
def points(
    config: Path | None, name: str, *, limit: int | None, after: str | None,
    exact: bool | None, as_json: bool,
) -> None:  # fmt: skip
    """List the states that the backup NAME can be restored to, oldest first, and its gaps."""
    source = open_source(replica_settings(settings.load(config)), name)
    found = read_replica(source.store, source.keys)
    behind = _position(after, found)
    shown = list(islice((p for p in found.points if (p.epoch, p.txid) > behind), limit))
    times = PointTimes(source.store)
    if exact or (exact is None and len(shown) <= _EXACT_WITHOUT_ASKING):
        times.fetch(shown)
    rows = [_point(point, times) for point in shown]
    gaps = [
        {"epoch": gap.epoch, "after_txid": gap.after_txid, "before_txid": gap.before_txid}
        for gap in found.gaps
        if not gap.is_pending
    ]
    epoch = found.current.epoch if found.current else None
    if as_json:
        print_json({"name": name, "epoch": epoch, "points": rows, "gaps": gaps})
        return
    _show_points(rows, gaps)


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


def _point(point: Point, times: PointTimes) -> dict[str, Any]:
    return {
        "epoch": point.epoch, "txid": point.txid, "at": iso(times.best_ms(point)),
        "at_source": "exact" if times.is_exact(point) else "listed",
        "level": point.level, "orphaned": point.orphaned,
    }  # fmt: skip


def _position(after: str | None, found: Replica) -> tuple[int, int]:
    if after is None:
        return (0, 0)
    wish = when.parse(after, SystemClock().now_ms())
    if not isinstance(wish, Txid):
        raise InvalidWhen(f"--after {after!r} is not a point", hint="write e0001/txid:236")
    current = found.current.epoch if found.current else 0
    return (wish.epoch if wish.epoch is not None else current, wish.txid)


def _show_points(rows: list[dict[str, Any]], gaps: list[dict[str, Any]]) -> None:
    print_table(
        ("point", "at", "source", "level", ""),
        [
            (
                when.show(Txid(row["txid"], row["epoch"])), row["at"], row["at_source"],
                row["level"], "orphaned" if row["orphaned"] else "",
            )
            for row in rows
        ],
    )  # fmt: skip
    for gap in gaps:
        note(
            f"gap in epoch {gap['epoch']}: the transactions {gap['after_txid'] + 1} to "
            f"{gap['before_txid'] - 1} are missing"
        )
