"""
One workflow whose work spreads over all places there are: π, from random points.

    obelisk-ops run examples/scale_out.py:estimate 40 --db pi.db

does it on one machine, in one file. The same code, unchanged, on a server:

    DB=postgresql://lab@db.example.org/lab
    obelisk-ops worker examples/scale_out.py --queue default=2 --db $DB
    obelisk-ops execution submit examples/scale_out.py:estimate 40 --id pi --db $DB
    obelisk-ops execution result pi --wait --db $DB

The first of these may be given on as many machines as serve one database: each counts two
batches at once, and what finds no place with one goes to the others. Kill what you like: what
was counted is not counted again, and the answer is the same.
"""

from __future__ import annotations

from random import Random

from obelisk_ops import activity, join_set, workflow

POINTS = 50_000


@activity
def count_hits(batch: int) -> int:
    """Count the points of one batch that lie in the quarter circle."""
    # The same points in every attempt, and on every machine.
    draw = Random(batch).random  # noqa: S311 - no secret
    return sum(draw() ** 2 + draw() ** 2 <= 1 for _ in range(POINTS))


@workflow
async def estimate(batches: int) -> float:
    """Estimate π: all batches at once, each counted as soon as it has come."""
    hits = 0
    async with join_set("batches") as counted:
        for batch in range(batches):
            counted.submit(count_hits, batch)
        async for some in counted:
            hits += some
    return 4 * hits / (batches * POINTS)
