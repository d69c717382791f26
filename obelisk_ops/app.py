"""The composition root: settings in, wired services out. Decides nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from obelisk_ops.check.finding import Finding
from obelisk_ops.check.service import findings
from obelisk_ops.check.site import Reach, Site
from obelisk_ops.core.clock import Clock, SystemClock
from obelisk_ops.core.words import meant
from obelisk_ops.errors import DatabaseNotFound, OpsError, ReplicaNotFound
from obelisk_ops.inspect.meaning import Code
from obelisk_ops.litestream.config import to_yaml
from obelisk_ops.monitor import channels
from obelisk_ops.monitor.alerts import Alerts
from obelisk_ops.monitor.damping import Patience
from obelisk_ops.monitor.tally import Tally
from obelisk_ops.objectstore import open_rules, open_store
from obelisk_ops.replica.epochs import list_replicas
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.restore.drill import service as drills
from obelisk_ops.restore.drill.result import Drilled
from obelisk_ops.restore.drill.scratch import alone_in
from obelisk_ops.restore.prune.service import Pruned, prune
from obelisk_ops.restore.service import Restored, Source
from obelisk_ops.restore.source import open_source, replica_settings
from obelisk_ops.settings import (
    ReplicaSettings,
    Settings,
    expand_databases,
    for_command,
    load,
    service_manager,
    webhook_address,
)
from obelisk_ops.supervise import identity
from obelisk_ops.supervise.boot import Watch, missing_databases, restore_missing
from obelisk_ops.supervise.bucket import TIMEOUT_S, Bucket
from obelisk_ops.supervise.command import Command
from obelisk_ops.supervise.companion import Companion
from obelisk_ops.supervise.drillbook import Drillbook, proof_of
from obelisk_ops.supervise.driller import Driller
from obelisk_ops.supervise.entrypoint import Ending, Entrypoint, Terms
from obelisk_ops.supervise.fleet import Log
from obelisk_ops.supervise.launch import litestream_config, replica_of, replicated
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.log import json_log
from obelisk_ops.supervise.notify import Notifier
from obelisk_ops.supervise.outcome import Outcome
from obelisk_ops.supervise.ownership import FIRST_EPOCH
from obelisk_ops.supervise.places import config_in_use, lease_file
from obelisk_ops.supervise.report import report
from obelisk_ops.supervise.rights import party_of
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.status import Row
from obelisk_ops.supervise.supervisor import Supervisor
from obelisk_ops.supervise.takeover import Takeover, Tell
from obelisk_ops.supervise.vacancy import until_vacant

_EXAMPLE = (
    "# An example: no process serves this database now. Its address and its socket are chosen\n"
    "# when it is started, and in the shared topology it serves other databases too.\n"
)


def supervisor(config: Path | None) -> Callable[[bool], Outcome]:
    """Return what supervises the databases of a configuration; call it with ``once``."""
    service = _make_supervisor(load(config), json_log(sys.stderr))
    return lambda once: asyncio.run(service.run(once=once))


def restore_before_start(
    settings: Settings,
    databases: Mapping[str, Path],
    *,
    may_begin: bool,
    patience_s: float,
    watch: Watch,
    tell: Callable[[str], None],
) -> dict[str, Restored | None]:
    """
    Restore those of *databases* that are missing; see ``boot.restore_missing``.

    Raises:
        OpsError: A database can neither be restored nor begun, or another machine owns it.
    """
    replica, clock = replica_of(settings), SystemClock()
    missing = missing_databases(databases, replica.url)
    vacancy = until_vacant(
        [case.name for case in missing],
        party_of(settings, lease_file(settings.state_dir)),
        Bucket(lambda: open_store(replica), clock),
        clock,
        patience_s=patience_s,
        tell=tell,
    )
    asyncio.run(vacancy)
    return restore_missing(
        missing,
        lambda name: open_source(replica, name, rate=settings.restore.rate),
        may_begin=may_begin,
        clock=clock,
        watch=watch,
    )


def run_command(settings: Settings, argv: Sequence[str], terms: Terms) -> Ending:
    """
    Run a program with a supervisor around it.

    Raises:
        OpsError: The program was not started.
    """
    log = json_log(sys.stderr)

    async def drive() -> Ending:
        return await Entrypoint(
            Command(argv, for_command()),
            lambda: _make_supervisor(settings, log),
            terms,
            clock=SystemClock(),
            log=log,
        ).run()

    return asyncio.run(drive())


def _make_supervisor(settings: Settings, log: Log) -> Supervisor:
    clock, tally = SystemClock(), Tally(log)
    service = Supervisor(
        settings,
        reload=lambda: load(settings.path),
        open_store=lambda replica: open_store(replica, timeout_s=TIMEOUT_S, attempts=1),
        clock=clock,
        log=tally,
        notifier=Notifier(service_manager(), clock),
    )
    driller = Driller(lambda: service.settings, clock, tally)
    service.companions = (driller, *_companions(settings, clock, tally))
    return service


def _companions(settings: Settings, clock: Clock, tally: Tally) -> Iterator[Companion]:
    if settings.metrics.listen:
        # The library for it is loaded only where somebody wants metrics.
        from obelisk_ops.monitor.exporter import Exporter  # noqa: PLC0415

        yield Exporter(settings.metrics, tally)
    alerts, ways = settings.alerts, list[channels.Channel]()
    if alerts.webhook:
        ways.append(channels.Webhook(partial(webhook_address, alerts)))
    if alerts.command:
        ways.append(channels.Command(alerts.command))
    if ways:
        patience = Patience(
            after_ms=round(alerts.after_s * 1000), repeat_ms=round(alerts.repeat_s * 1000)
        )
        host = identity.host(settings.host)
        yield Alerts(patience, ways, host=host, clock=clock, log=tally)


def open_takeover(
    settings: Settings, name: str, target: Path, *, tell: Tell
) -> tuple[Source, Takeover]:
    """
    Return the replica, and what takes it over; nothing is sent yet.

    Raises:
        ConfigError: The configuration names no replica.
        CredentialsError: There are no credentials.
    """
    replica, clock = replica_settings(settings), SystemClock()
    source = open_source(replica, name, rate=settings.restore.rate)
    bucket = Bucket(lambda: open_store(replica, timeout_s=TIMEOUT_S, attempts=1), clock)
    party = party_of(settings, None)
    log = json_log(sys.stderr)
    lease = Holder(party, bucket, clock, log, on_halt=lambda _lease: None)
    return source, Takeover(source, target, lease=lease, bucket=bucket, clock=clock, tell=tell)


def drill_all(
    settings: Settings,
    names: Sequence[str],
    *,
    seed: int,
    limit_s: float | None,
    code: Code | None,
    watch: drills.Watch,
) -> Iterator[Drilled]:
    """
    Drill backups one after the other, note what was found, and yield it.

    Args:
        settings: The configuration.
        names: Which; all that the bucket holds if none is named.
        seed: What chooses the random points.
        limit_s: How long each may take; None for what the configuration says.
        code: What finished executions are replayed with.
        watch: Looks on.

    Raises:
        ReplicaNotFound: The bucket holds no backup of such a name, or none at all.
        DatabaseLocked: Another drill is under way.
        OpsError: The bucket does not answer.
    """
    replica, clock = replica_settings(settings), SystemClock()
    folder = settings.state_dir / "drills"
    book = Drillbook(settings.state_dir, replica.url)
    terms = drills.Terms(
        folder=folder, seed=seed, limit_s=limit_s or settings.drill.timeout_s,
        download_bytes=settings.drill.download_bytes, code=code,
    )  # fmt: skip
    with alone_in(folder):
        for name in names or _all_below(replica):
            source = open_source(replica, name, rate=settings.restore.rate)
            drilled = drills.drill(source, terms, clock=clock, watch=watch)
            book.note(drilled)
            yield drilled


def _all_below(replica: ReplicaSettings) -> list[str]:
    names = list_replicas(open_store(replica), replica.prefix)
    if not names:
        # Nothing was proven: a mistyped address must not pass for a good drill.
        raise ReplicaNotFound(
            f"the bucket holds no backups below {replica.url}",
            hint="check replica.url; 'obelisk-ops replica list' shows what is there",
        )
    return names


def prune_replica(
    settings: Settings, name: str, *, keep_s: float | None, is_applied: bool
) -> Pruned:
    """
    Remove from a backup what is old, or say what would go; see ``prune``.

    Raises:
        ReplicaNotFound: There is no such backup.
        Unproven: No drill of this state folder has proven it.
        VerificationFailed: The last one has disproven it.
        OpsError: See ``prune``.
    """
    replica = replica_settings(settings)
    source = open_source(replica, name)
    try:
        proof = proof_of(Drillbook(settings.state_dir, replica.url).entry(name), name)
    except OpsError:
        read_replica(source.store, source.keys)  # that it is not there is said first
        raise
    keep_s = settings.litestream.snapshot_retention_s if keep_s is None else keep_s
    return prune(source, proof, keep_s, is_applied=is_applied, clock=SystemClock())


def fleet_status(settings: Settings) -> tuple[list[Row], int]:
    """
    Return every configured database, and the exit status that they call for.

    Raises:
        Unproven: A supervisor runs, and does not answer.
    """
    return report(settings)


def checks(
    config: Path | None, *, only: Collection[str] = (), without: Collection[str] = ()
) -> Generator[Finding]:
    """
    Check the path from here to the bucket, and yield what each check tells.

    Raises:
        UsageError: There is no check of such a name.
    """
    reach = Reach(store=partial(open_store, attempts=1), rules=open_rules)
    site = Site(partial(load, config), reach, SystemClock())
    return findings(site, only=only, without=without)


def litestream_config_text(settings: Settings, name: str) -> str:
    """
    Return the Litestream configuration of one database.

    That of the process that serves it now; while there is none, that of a process which
    serves it alone, and a remark that socket and port are examples.

    Raises:
        DatabaseNotFound: No configured database has this name.
    """
    databases = expand_databases(settings)
    if name not in databases:
        raise DatabaseNotFound(
            f"no configured database is named '{name}'",
            hint=f"{meant(name, databases)}there are: {', '.join(sorted(databases)) or 'none'}",
        )
    in_use = config_in_use(settings.state_dir, databases[name])
    if in_use is not None:
        return in_use
    replica, sidecar = replica_of(settings), Sidecar(databases[name])
    owner = sidecar.owner()
    epoch = owner.epoch if owner else FIRST_EPOCH
    database = replicated(
        databases[name],
        meta=sidecar.meta(epoch),
        keys=ReplicaKeys(prefix=replica.prefix, name=name),
        epoch=epoch,
        replica=replica,
        litestream=settings.litestream,
    )
    return _EXAMPLE + to_yaml(litestream_config([database], settings.litestream))
