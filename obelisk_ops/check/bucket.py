"""Checks of the bucket: real requests below the prefix, and what the bucket is set to do."""

from __future__ import annotations

from obelisk_ops.check.finding import Told, ok, skip, warn
from obelisk_ops.check.site import Site
from obelisk_ops.core.words import counted
from obelisk_ops.errors import (
    ClockError,
    ConfigError,
    CredentialsError,
    OpsError,
    PreconditionFailed,
    S3Unavailable,
    VerificationFailed,
)
from obelisk_ops.objectstore.rules import LifecycleRule
from obelisk_ops.replica.layout import folder
from obelisk_ops.replica.leases import list_leases, read_lease
from obelisk_ops.supervise.sidecar import Sidecar

_DAY_S = 86_400
#: The store tells whole seconds, and the way there and back takes a moment.
_SKEW_OK_MS, _SKEW_MAX_MS = 5_000, 60_000


def bucket(site: Site) -> Told:
    """See that the endpoint answers, and has the bucket."""
    began_ms = site.clock.elapsed_ms()
    where = f"{site.replica.url} at {site.replica.endpoint or 'AWS'}"
    try:
        next(iter(site.store.list(folder(site.replica.prefix))), None)
    except (CredentialsError, ClockError):
        # There is somebody who refuses; why is told by the checks that follow.
        return skip(f"{where}: not known, the request is refused")
    took_s = (site.clock.elapsed_ms() - began_ms) / 1000
    return ok(f"{where} answers", figures={"list": f"{took_s:.3f}s"})


def clock(site: Site) -> Told:
    """Compare this machine's clock with the store's."""
    before_ms = site.clock.now_ms()
    try:
        theirs_ms = site.store.server_time_ms()
    except CredentialsError:  # there are none to ask with; a refusal would tell the time
        return skip("not known, there are no credentials")
    # It stood somewhere between the question and the answer, and was cut to the second.
    early_ms, late_ms = theirs_ms - site.clock.now_ms(), theirs_ms + 999 - before_ms
    off_ms = early_ms if early_ms > 0 else min(late_ms, 0)
    seconds = f"{abs(off_ms) / 1000:.1f} s {'behind' if off_ms > 0 else 'ahead'}"
    figures = {"clock_skew": f"{abs(off_ms) / 1000:.1f}s"}
    if abs(off_ms) > _SKEW_MAX_MS:
        raise ClockError(
            f"this machine's clock is {seconds} of {site.replica.endpoint or 'AWS'}",
            hint="is it set by chrony or systemd-timesyncd? Litestream deletes by this clock",
        )
    if abs(off_ms) > _SKEW_OK_MS:
        return warn(f"this clock is {seconds}", "does something set it?", figures=figures)
    return ok("agrees with the bucket's, within a second or two", figures=figures)


def credentials(site: Site) -> Told:
    """Write, read, list and delete an object, as replication does."""
    mine = site.claim()
    key, body = f"{mine}object", site.id.encode()
    site.store.put(key, body)
    if site.store.get(key).body != body:
        raise VerificationFailed(
            f"{key} is not read as it was written", hint="what is between?"
        )
    if key not in {info.key for info in site.store.list(mine)}:
        raise VerificationFailed(
            f"{key} is there and is not listed",
            hint="does the server list what it has just taken? Replication is judged by lists",
        )
    site.store.delete(key)
    return ok(f"may put, get, list and delete below {site.replica.url}")


def conditional_writes(site: Site) -> Told:
    """See that the server refuses a write whose condition does not hold."""
    key, store = f"{site.claim()}condition", site.store
    etag = store.put(key, b"1", if_absent=True)
    store.put(key, b"2", if_match=etag)
    for name, wish in (
        ("If-None-Match", {"if_absent": True}),
        ("If-Match", {"if_match": etag}),
    ):
        try:
            store.put(key, b"3", **wish)
        except PreconditionFailed:
            continue
        raise VerificationFailed(
            f"the server takes a write that {name} forbids",
            hint="is there a newer version of it? Two machines may write one history now",
        )
    store.delete(key)
    return ok("If-None-Match and If-Match are refused when they must be")


def versioning(site: Site) -> Told:
    """Say whether what is overwritten or deleted can be had back."""
    try:
        state = site.rules.versioning()
    except OpsError as error:
        return _cannot_tell(error)
    if state == "enabled":
        return ok("enabled: what is overwritten or deleted is kept as an old version")
    return warn(
        f"{state}: what is overwritten or deleted is gone",
        "should a mistake, or a stolen key, be able to destroy the backups?",
    )


def object_lock(site: Site) -> Told:
    """Compare object lock with how long backups are to be kept."""
    try:
        lock = site.rules.lock()
    except OpsError as error:
        return _cannot_tell(error)
    if lock is None or lock.days is None:
        return warn(
            "not set: whoever may delete objects may delete them all",
            "is there a copy that the keys of this machine cannot delete?",
        )
    kept = site.settings.litestream.snapshot_retention_s / _DAY_S
    told = f"{lock.mode} for {counted(lock.days, 'day')}"
    if lock.days < kept:
        return warn(
            f"{told}, backups are to be kept for {kept:g}",
            "should the lock last as long as litestream.snapshot.retention?",
        )
    return ok(f"{told}, backups are to be kept for {kept:g}")


def lifecycle(site: Site) -> Told:
    """See that no rule of the bucket deletes or archives backups before their time."""
    try:
        rules = site.rules.lifecycle()
        is_versioned = site.rules.versioning() != "off"
    except OpsError as error:
        return _cannot_tell(error)
    here = [rule for rule in rules if touches(rule, folder(site.replica.prefix))]
    kept_days = site.settings.litestream.snapshot_retention_s / _DAY_S
    for rule in here:
        _refuse(rule, kept_days)
    if is_versioned and not any(rule.forgets_versions for rule in here):
        return warn(
            "old versions of deleted objects are kept for ever",
            "should a rule let them go (NoncurrentVersionExpiration)?",
        )
    if not here:
        return ok("no rule deletes or moves anything below the prefix")
    return ok(f"{counted(len(here), 'rule')} below the prefix, none too early")


def touches(rule: LifecycleRule, prefix: str) -> bool:
    """Tell whether a rule is about objects below *prefix*."""
    return prefix.startswith(rule.prefix) or rule.prefix.startswith(prefix)


def _refuse(rule: LifecycleRule, kept_days: float) -> None:
    for days, does in (
        (rule.deletes_after_days, "deletes"),
        (rule.archives_after_days, "archives"),
    ):
        # An epoch may rest on one snapshot for ever: what is archived can not be restored.
        if days is not None and (does == "archives" or days <= kept_days):
            raise ConfigError(
                f"lifecycle rule '{rule.name}' {does} objects below the prefix after "
                f"{days} days, backups are to be kept for {kept_days:g}",
                hint="can it leave the prefix out? Litestream deletes what is too old",
            )


def backups(site: Site) -> Told:
    """See that what was backed up from here is found where the configuration points."""
    try:
        there = set(site.store.folders(folder(site.replica.prefix)))
    except CredentialsError:
        return skip("the keys may not list")
    owners = {name: Sidecar(path).owner() for name, path in site.databases.items()}
    written = {name for name, owner in owners.items() if owner is not None}
    if written - there:
        raise VerificationFailed(
            f"{site.replica.url} holds nothing of what was written to a bucket from here: "
            + ", ".join(sorted(written - there)),
            hint="is replica.url the one it was? An empty place begins a new history",
        )
    if not written:
        return ok("nothing was written to a bucket from here yet")
    what = counted(len(owners), "database")
    return ok(f"{len(written)} of {what} written from here, all there")


def leases(site: Site) -> Told:
    """See which supervisors write below the prefix, and which of them have gone silent."""
    prefix = site.replica.prefix
    try:
        seen = [
            read_lease(site.store, prefix, each) for each in list_leases(site.store, prefix)
        ]
        present_ms = site.store.server_time_ms()
    except CredentialsError:
        return skip("the keys may not list")
    held = [each for each in seen if each is not None]
    silent = [
        f"{each.lease.host} ({(present_ms - each.renewed_ms) // 1000} s ago)"
        for each in held
        if present_ms - each.renewed_ms > 2 * each.lease.ttl_ms
    ]
    if silent:
        return warn(
            f"not renewed any more: {', '.join(silent)}",
            "is the machine gone? What it held is taken over by whoever supervises it next",
        )
    hosts = sorted({each.lease.host for each in held})
    return ok(f"supervisors on {', '.join(hosts)}" if hosts else "no supervisor writes here")


def cleanup(site: Site) -> Told:
    """Remove what the checks have put into the bucket, and see that it is gone."""
    removed, left = site.sweep()
    if left:
        return warn(
            f"{counted(left, 'object')} survived a delete that was answered with success",
            "does the server delete at all? Retention would not either",
        )
    return ok(f"{counted(removed, 'object')} removed, nothing left behind")


def _cannot_tell(error: OpsError) -> Told:
    if isinstance(error, CredentialsError):
        return skip("the keys may not ask", "'obelisk-ops policy --role writer' may")
    if isinstance(error, S3Unavailable):
        return skip(f"the server cannot tell: {error.message}")
    raise error
