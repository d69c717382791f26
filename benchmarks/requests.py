"""
``python -m benchmarks.requests``: what a backup costs in requests, by profile.

Counts on the wire, through a proxy, everything that the supervisor and Litestream send: in a
minute of rest, and in a minute with ten commits a second.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings.values import PROFILE_NAMES
from tests.proxy import Proxy, Seen
from tests.supervised import Plain, Supervised

_SETTLE_S = 30.0


def main() -> None:
    """Measure every profile and print the table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.requests", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to count")
    parser.add_argument("--databases", type=int, default=5, help="how many are at rest")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder) / "s3", bucket="bench")
        server.start()
        try:
            rows = [
                measure(server, Path(folder) / profile, profile, given.seconds, given.databases)
                for profile in PROFILE_NAMES
            ]
        finally:
            server.stop(kill=True)
    if given.json:
        print(json.dumps(rows))
    else:
        _show(rows)


def measure(
    server: S3Server, folder: Path, profile: str, seconds: float, databases: int
) -> dict[str, object]:
    """Return the requests a minute of one profile, at rest and with one busy database."""
    folder.mkdir()
    with Proxy(int(server.endpoint.rpartition(":")[2])) as proxy:
        place = replace(server.replica(profile), endpoint=proxy.endpoint)
        with Supervised(folder, place) as supervised:
            supervised.configure(place, litestream={"profile": profile})
            opened = [supervised.database(f"db{number}") for number in range(databases)]
            for database in opened:
                database.write()
            supervised.start()
            for number in range(databases):
                supervised.until_safe(f"db{number}", 120)
            _pause(_SETTLE_S)
            rest = _count(proxy, seconds)
            with_one = _count_busy(proxy, opened[0], seconds)
            row = supervised.row("db0")
    idle, busy = sum(rest.values()), sum(with_one.values())
    return {
        "profile": profile,
        "databases": databases,
        "rest": round(idle * 60 / seconds, 1),
        "limit": 12 + 2 * databases,
        "busy": round((busy - idle) * 60 / seconds, 1),
        "busy_by_method": dict(with_one),
        "status_says_a_minute": round(((row and row.requests_per_day) or 0) / 1440, 1),
    }


def _count(proxy: Proxy, seconds: float) -> Counter[str]:
    before = len(proxy.seen)
    _pause(seconds)
    return _by_method(proxy.seen[before:])


def _count_busy(proxy: Proxy, database: Plain, seconds: float) -> Counter[str]:
    before, done = len(proxy.seen), threading.Event()
    timer = threading.Timer(seconds, done.set)
    timer.start()
    while not done.wait(0.1):
        database.write()
    return _by_method(proxy.seen[before:])


def _by_method(seen: Iterable[Seen]) -> Counter[str]:
    return Counter("LIST" if "list-type" in one.query else one.method for one in seen)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _show(rows: list[dict[str, object]]) -> None:
    table = Table("profile", "at rest, all", "limit", "one busy", "by kind", "status says")
    for row in rows:
        keys = ("profile", "rest", "limit", "busy", "busy_by_method", "status_says_a_minute")
        table.add_row(*(str(row[key]) for key in keys))
    console = Console(width=110)
    console.print("requests a minute, everything included", table)


if __name__ == "__main__":
    main()
