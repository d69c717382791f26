"""
``make bench``: how fast we are, beside bare SQLite and other engines, in one run.

``python -m benchmarks --only sequential,replay --rounds 3 --no-peers --json``
"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from benchmarks import program, rounds, table

WIDTH = 100


def main() -> None:
    """Measure, then print the tables or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(program.NAMES), help="programs, with commas")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true", help="only ours")
    parser.add_argument("--json", action="store_true", help="every round, for programs")
    given = parser.parse_args()
    only = given.only.split(",")
    unknown = sorted(set(only) - set(program.NAMES))
    if unknown:
        parser.error(f"no program {', '.join(unknown)}; there are {', '.join(program.NAMES)}")
    report = rounds.run(
        only,
        size=given.size,
        rounds=given.rounds,
        peers=not given.no_peers,
        say=lambda line: print(line, file=sys.stderr),
    )
    if given.json:
        print(json.dumps(table.as_json(report), indent=2))
    else:
        table.show(report, Console(width=max(Console().width, WIDTH)))


if __name__ == "__main__":
    main()
