"""All checks, in the order in which they rest on each other."""

from __future__ import annotations

from collections.abc import Collection, Generator

from obelisk_ops.check import bucket, machine
from obelisk_ops.check.finding import Finding, Outcome, Told, ok, skip
from obelisk_ops.check.pipe import pipe
from obelisk_ops.check.running import Check, chosen, run
from obelisk_ops.check.site import Site
from obelisk_ops.core.words import counted
from obelisk_ops.errors import Degraded
from obelisk_ops.supervise.health import State
from obelisk_ops.supervise.places import read_pointer
from obelisk_ops.supervise.report import report


def supervisor(site: Site) -> Told:
    """Ask the supervisor, where one runs, how the databases are."""
    if read_pointer(site.settings.state_dir) is None:
        return skip("no supervisor runs here", "is it meant to? 'obelisk-ops supervise'")
    rows, status = report(site.settings)
    unwell = [row for row in rows if row.state != State.OK]
    if unwell:
        return Told(
            outcome=Outcome.FAIL,
            detail="; ".join(f"{row.name} is {row.state}" for row in unwell),
            hint="what does 'obelisk-ops status' say?",
            code=unwell[0].reason or Degraded.code,
            exit_status=status,
        )
    return ok(f"{counted(len(rows), 'database')}, all ok")


CHECKS: tuple[Check[Site], ...] = (
    Check(name="configuration", run=machine.configuration),
    Check(name="litestream", run=machine.litestream),
    Check(name="sqlite", run=machine.sqlite),
    Check(name="environment", run=machine.environment),
    Check(name="permissions", run=machine.permissions, needs=("configuration",)),
    Check(name="disk", run=machine.disk, needs=("configuration", "permissions")),
    Check(name="open-files", run=machine.open_files, needs=("configuration",)),
    Check(name="retention", run=machine.retention, needs=("configuration",)),
    Check(name="bucket", run=bucket.bucket, needs=("configuration",)),
    Check(name="clock", run=bucket.clock, needs=("bucket",)),
    Check(name="credentials", run=bucket.credentials, needs=("bucket", "clock")),
    Check(name="conditional-writes", run=bucket.conditional_writes, needs=("credentials",)),
    Check(name="versioning", run=bucket.versioning, needs=("bucket", "clock")),
    Check(name="object-lock", run=bucket.object_lock, needs=("bucket", "clock")),
    Check(name="lifecycle", run=bucket.lifecycle, needs=("bucket", "clock")),
    Check(name="backups", run=bucket.backups, needs=("bucket", "clock")),
    Check(name="leases", run=bucket.leases, needs=("bucket", "clock")),
    Check(
        name="pipe",
        run=pipe,
        needs=("configuration", "litestream", "sqlite", "permissions", "disk", "credentials"),
    ),
    Check(name="supervisor", run=supervisor, needs=("configuration",)),
    Check(name="cleanup", run=bucket.cleanup, needs=("credentials",)),
)


def findings(
    site: Site, *, only: Collection[str] = (), without: Collection[str] = ()
) -> Generator[Finding]:
    """
    Check, and yield what each check tells; nothing is left in the bucket, however it ends.

    Args:
        site: What is checked.
        only: Names of checks; these, and what they rest on. Empty for all.
        without: Names of checks that are left out.

    Raises:
        UsageError: There is no check of such a name.
    """
    checks = chosen(CHECKS, only=only, without=without)
    try:
        yield from run(checks, site)
    finally:
        site.leave()
