"""What we promise, figure by figure, and the rows that compare engines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """
    One figure of ours and its limit, if it has one.

    Attributes:
        figure: Its name.
        work: What was done, for the table.
        what: What was counted.
        least: It must be at least this.
        most: It must be at most this.
        form: How it is written.
    """

    figure: str
    work: str
    what: str
    least: float | None = None
    most: float | None = None
    form: str = "{:,.2f}"

    def is_met(self, value: float) -> bool | None:
        """Return whether *value* keeps the promise; None if there is none."""
        if self.least is not None:
            return value >= self.least
        return None if self.most is None else value <= self.most

    @property
    def limit(self) -> str:
        """Return the promise in words."""
        if self.least is not None:
            return f"≥ {self.form.format(self.least)}"
        return "" if self.most is None else f"≤ {self.form.format(self.most)}"


PERCENT, MIB, SECONDS = "{:.1f} %", "{:,.0f} MiB", "{:.1f} s"
FLEET = "1000 databases, shared"
#: Twelve requests a minute for a supervisor, and two for each database at rest.
FLEET_REQUESTS = 12 + 2 * 1000
RATIO, MS, COUNT = "{:.2f} x", "{:,.1f} ms", "{:,.0f}"
FULL = "PostgreSQL: 1.1 million executions"
WORKERS, HEARD = "PostgreSQL: 4 workers", "PostgreSQL: a result heard elsewhere"
CROWD = "PostgreSQL: 64 claimers"
MANY, ONE = "1000 workflows x 5", "one workflow, sequential"

GOALS = (
    Goal(figure="concurrent.async.rate", work=f"{MANY}, async def", what="steps/s",
         least=20_000, form=COUNT),
    Goal(figure="concurrent.async.of_best_peer", work=f"{MANY}, async def",
         what="of the best peer", least=10, form="{:.1f} x"),
    Goal(figure="concurrent.def.rate", work=f"{MANY}, def", what="steps/s", least=8000,
         form=COUNT),
    Goal(figure="sequential.async.of_bare", work=f"{ONE}, async def", what="of bare SQLite",
         least=0.85, form=RATIO),
    Goal(figure="sequential.async.p99_of_bare", work=f"{ONE}, async def",
         what="p99 of the bare p99", most=2, form=RATIO),
    Goal(figure="sequential.def.of_bare", work=f"{ONE}, def", what="of bare SQLite",
         least=0.45, form=RATIO),
    Goal(figure="replay.ours_ms", work="replay of 10,000 steps", what="time", most=60, form=MS),
    Goal(figure="replay.of_bare", work="replay of 10,000 steps", what="of a bare loop",
         most=2.5, form=RATIO),
    Goal(figure="recovery.seconds", work="1000 in flight, after a kill", what="all run again",
         most=1, form="{:.2f} s"),
    Goal(figure="volume.1024.db_bytes", work="a small sequential step", what="of the database",
         most=150, form="{:,.0f} B"),
    Goal(figure="volume.1024.wal_bytes", work="a small sequential step",
         what="of write-ahead log", most=4096, form="{:,.0f} B"),
    Goal(figure="concurrent.async.wal_bytes", work=f"{MANY}, a step",
         what="of write-ahead log", most=1024, form="{:,.0f} B"),
    Goal(figure="idle.cpu_percent", work="idle, 1000 executions asleep", what="of a core",
         most=0.5, form="{:.2f} %"),
    Goal(figure="idle.writes", work="idle, 1000 executions asleep", what="has written", most=0,
         form=COUNT),
    Goal(figure="pending.slowdown_percent", work="a step beside 100,000 asleep",
         what="slower", most=20, form="{:.0f} %"),
    Goal(figure="memory.unloaded_bytes", work="an execution asleep, unloaded", what="of memory",
         most=4096, form="{:,.0f} B"),
    Goal(figure="fleet.all_safe_s", work=FLEET, what="all of them are safe", form=SECONDS),
    Goal(figure="fleet.new_database_s", work=FLEET, what="a new one is safe", most=3,
         form=SECONDS),
    Goal(figure="fleet.restart_s", work=FLEET, what="a dead process runs again", most=1,
         form="{:.2f} s"),
    Goal(figure="fleet.stop_s", work=FLEET, what="all is shipped and stopped", form=SECONDS),
    Goal(figure="fleet.cpu_percent_each", work=f"{FLEET}, at rest",
         what="of a core, supervisor, for each", most=0.1, form="{:.3f} %"),
    Goal(figure="fleet.cpu_percent", work=f"{FLEET}, at rest", what="of a core, supervisor",
         form=PERCENT),
    Goal(figure="fleet.memory_mib_each", work=f"{FLEET}, at rest",
         what="of memory, supervisor, for each", most=1, form="{:.2f} MiB"),
    Goal(figure="fleet.memory_mib", work=f"{FLEET}, at rest", what="of memory, supervisor",
         form=MIB),
    Goal(figure="fleet.litestream_cpu_percent", work=f"{FLEET}, at rest",
         what="of a core, all of Litestream", form=PERCENT),
    Goal(figure="fleet.litestream_memory_mib", work=f"{FLEET}, at rest",
         what="of memory, all of Litestream", form=MIB),
    Goal(figure="fleet.processes", work=FLEET, what="processes of Litestream", form=COUNT),
    Goal(figure="fleet.requests_per_minute", work=f"{FLEET}, at rest",
         what="requests a minute, of all", most=FLEET_REQUESTS, form=COUNT),
    Goal(figure="fleet.planned_per_minute", work=f"{FLEET}, at rest",
         what="requests a minute, by status", form=COUNT),
    Goal(figure="fleet.requests_in_one_minute", work=f"{FLEET}, at rest",
         what="requests, busiest minute", form=COUNT),
    Goal(figure="fleet.start_requests_each", work=FLEET, what="requests to be safe, for each",
         form=COUNT),
    Goal(figure="points.listed_s", work="points of 10,000 objects", what="from the listing",
         most=1, form="{:.2f} s"),
    Goal(figure="points.exact_s", work="points of 10,000 objects", what="exact times, once",
         most=5, form="{:.1f} s"),
    Goal(figure="points.catalogued_s", work="points of 10,000 objects",
         what="exact times, known", most=1, form="{:.2f} s"),
    Goal(figure="restore.of_litestream", work="restore of 1 GiB, checked",
         what="of litestream restore", most=1.25, form=RATIO),
    Goal(figure="search.first_s", work="search of 500 backups", what="the first time", most=60,
         form=SECONDS),
    Goal(figure="search.again_s", work="search of 500 backups", what="when one has changed",
         most=2, form=SECONDS),
    Goal(figure="timers.p99_ms", work="500 timers", what="p99 late", most=50, form=MS),
    Goal(figure="barrier.of_put_and_get", work="replicated: one barrier",
         what="of a PUT and a GET", most=1.5, form=RATIO),
    Goal(figure="barrier.rate", work=f"replicated: {MANY}", what="steps/s", least=5000,
         form=COUNT),
    Goal(figure="place.states_of_restore", work="1 GiB in place: executions by state",
         what="of a restore", most=0.05, form="{:.3f} x"),
    Goal(figure="place.show_of_restore", work="1 GiB in place: one execution of 1 MB",
         what="of a restore", most=0.05, form="{:.3f} x"),
    Goal(figure="place.bytes_percent", work="1 GiB in place: each of these, inspect",
         what="of its bytes", most=1, form="{:.2f} %"),
    Goal(figure="postgres.step_of_insert", work=f"PostgreSQL: {ONE}", what="of an INSERT",
         most=1.3, form=RATIO),
    Goal(figure="postgres.sequential_of_dbos", work=f"PostgreSQL: {ONE}", what="of DBOS",
         least=2, form="{:.1f} x"),
    Goal(figure="postgres.concurrent.rate", work=f"PostgreSQL: {MANY}", what="steps/s",
         form=COUNT),
    Goal(figure="postgres.concurrent_of_dbos", work=f"PostgreSQL: {MANY}", what="of DBOS",
         least=10, form="{:.1f} x"),
    Goal(figure="postgres_full.step_slowdown_percent", work=FULL, what="a step, slower",
         most=20, form="{:.0f} %"),
    Goal(figure="postgres_full.submit_slowdown_percent", work=FULL, what="a submit, slower",
         most=20, form="{:.0f} %"),
    Goal(figure="postgres_full.task_claim_slowdown_percent", work=FULL,
         what="a claim of a task, slower", most=20, form="{:.0f} %"),
    Goal(figure="postgres_full.letter_claim_slowdown_percent", work=FULL,
         what="a claim of an execution, slower", most=20, form="{:.0f} %"),
    Goal(figure="postgres_scale.spread.ratio", work=f"{WORKERS}, 100 workflows x 20",
         what="of one worker", least=3, form=RATIO),
    Goal(figure="postgres_scale.fan_out.ratio", work=f"{WORKERS}, one workflow, 2000 at once",
         what="of one worker", least=3, form=RATIO),
    Goal(figure="postgres_scale.heard.client.p50_ms", work=HEARD, what="a client, p50",
         most=20, form=MS),
    Goal(figure="postgres_scale.heard.client.p99_ms", work=HEARD, what="a client, p99",
         form=MS),
    Goal(figure="postgres_scale.heard.worker.p50_ms", work=HEARD, what="a worker, p50",
         most=20, form=MS),
    Goal(figure="postgres_scale.heard.worker.p99_ms", work=HEARD, what="a worker, p99",
         form=MS),
    Goal(figure="postgres_crowd.tasks.many_of_few", work=CROWD, what="claims of tasks, of 8",
         form=RATIO),
    Goal(figure="postgres_crowd.answered.many_of_few", work=CROWD,
         what="claims with their answers, of 8", form=RATIO),
    Goal(figure="postgres_crowd.letters.many_of_few", work=CROWD,
         what="claims of executions, of 8", form=RATIO),
    # A convoy is a queue for a lock beside processors that have nothing to do.
    Goal(figure="postgres_crowd.idle_percent", work=CROWD, what="processors left idle",
         most=20, form="{:.0f} %"),
    Goal(figure="postgres_crowd.longest_wait_ms", work=CROWD, what="longest wait for a lock",
         most=100, form=MS),
    Goal(figure="postgres_crowd.queries_per_s", work="PostgreSQL: 20 workers at rest",
         what="queries a second, of all", most=10, form="{:.1f}"),
)  # fmt: skip


#: what is only there where a peer was measured
BESIDE_PEERS = frozenset({
    "concurrent.async.of_best_peer", "postgres.sequential_of_dbos",
    "postgres.concurrent_of_dbos",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row of the table of engines."""

    figure: str
    work: str
    form: str


COMPARISONS = (
    Comparison(figure="concurrent.async.rate", work="many x 5, async def, steps/s", form=COUNT),
    Comparison(figure="concurrent.def.rate", work="many x 5, def, steps/s", form=COUNT),
    Comparison(figure="sequential.bare.rate", work="bare SQLite, commits/s", form=COUNT),
    Comparison(
        figure="sequential.recycled.rate",
        work="the same, its log written over again",
        form=COUNT,
    ),
    Comparison(figure="sequential.async.rate", work="one, async def, steps/s", form=COUNT),
    Comparison(figure="sequential.def.rate", work="one, def, steps/s", form=COUNT),
    Comparison(figure="sequential.bare.p50_ms", work="bare SQLite, p50 ms", form="{:.2f}"),
    Comparison(figure="sequential.async.p50_ms", work="one, async def, p50 ms", form="{:.2f}"),
    Comparison(figure="sequential.def.p50_ms", work="one, def, p50 ms", form="{:.2f}"),
    Comparison(figure="sequential.bare.p99_ms", work="bare SQLite, p99 ms", form="{:.2f}"),
    Comparison(figure="sequential.async.p99_ms", work="one, async def, p99 ms", form="{:.2f}"),
    Comparison(figure="sequential.def.p99_ms", work="one, def, p99 ms", form="{:.2f}"),
    Comparison(figure="replay.ours_ms", work="replay of 10,000 steps, ms", form="{:,.0f}"),
)

OURS = "ours"


def of_best_peer(figures: dict[str, dict[str, float]]) -> float | None:
    """Return our concurrent rate as a multiple of the best one of any other engine."""
    names = ("concurrent.async.rate", "concurrent.def.rate")
    others = [
        found[name]
        for engine, found in figures.items()
        for name in names
        if engine != OURS and name in found
    ]
    ours = figures.get(OURS, {}).get(names[0])
    return ours / max(others) if others and ours is not None else None
