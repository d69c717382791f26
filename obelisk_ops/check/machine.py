"""Checks of this machine: programs, folders, space, limits. Nothing is sent anywhere."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import apsw
import psutil
from rich.filesize import decimal

from obelisk_ops import process
from obelisk_ops.check.finding import Told, ok, warn
from obelisk_ops.check.site import Site
from obelisk_ops.core.durations import format_duration
from obelisk_ops.core.words import counted
from obelisk_ops.errors import StorageUnavailable, TooManyFiles
from obelisk_ops.litestream import program
from obelisk_ops.settings import child_environment, expand_databases, variables
from obelisk_ops.storage.sqlite.connection import refuse_unsafe_sqlite
from obelisk_ops.supervise.descriptors import needed
from obelisk_ops.supervise.groups import assign
from obelisk_ops.supervise.sidecar import private_folder

#: variables that Litestream does not get, and why that matters to somebody who set them
_SCRUBBED = {
    "AWS_CA_BUNDLE": "Litestream does not start with it",
    "LITESTREAM_": "the configuration is generated",
    "LD_PRELOAD": "a child gets an environment of its own",
    "LD_LIBRARY_PATH": "a child gets an environment of its own",
    "HTTP_PROXY": "Litestream connects directly",
    "HTTPS_PROXY": "Litestream connects directly",
    "http_proxy": "Litestream connects directly",
    "https_proxy": "Litestream connects directly",
}  # fmt: skip

#: SQLite's shared memory does not work over a network, and its locks seldom do.
_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre",
    "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.glusterfs", "davfs",
})  # fmt: skip

#: So many files are named.
_NAMED = 20

#: Litestream begins with a copy of the whole database beside it.
_SPARE_BYTES = 64 * 1024 * 1024
_AFFECTED = ((3, 7, 0), (3, 51, 2))
#: the repair was carried back to these
_REPAIRED = ((3, 44, 6), (3, 50, 7))


def configuration(site: Site) -> Told:
    """Read the configuration, which everything else rests on."""
    site.settings = site.load()
    site.databases = expand_databases(site.settings)
    where = f"{site.settings.path}: {site.replica.url}"
    if not site.settings.databases:
        return warn(f"{where}, and no databases", "what is there to back up?")
    if not site.databases:
        return warn(f"{where}, and no file matches", "is databases[].path right?")
    return ok(f"{where}, {counted(len(site.databases), 'database')}")


def litestream(_site: Site) -> Told:
    """Find Litestream, and a version that works."""
    found = program.find()
    version = program.check_version(found, child_environment({}))
    return ok(f"version {version}, {found}")


def sqlite(_site: Site) -> Told:
    """Look for the bug that a checkpointer beside a writer triggers."""
    ours = apsw.sqlite_lib_version()
    refuse_unsafe_sqlite(ours)
    least = ".".join(map(str, program.MINIMUM))
    seen = f"{ours} in the engine; Litestream {least} and later carry a sound one"
    python = sqlite3.sqlite_version
    if has_wal_reset_bug(tuple(map(int, python.split(".")))):
        seen += (
            f"; {python} in this Python's sqlite3 has the WAL-reset bug: do not write with it"
        )
    return ok(seen)


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Tell whether a SQLite can corrupt a database whose log another process resets."""
    first, last = _AFFECTED
    is_repaired = any(version[:2] == one[:2] and version >= one for one in _REPAIRED)
    return first <= version <= last and not is_repaired


def environment(_site: Site) -> Told:
    """Look for variables that would change what Litestream does, if it got them."""
    found = {name: why for start, why in _SCRUBBED.items() for name in variables(start)}
    if not found:
        return ok("nothing in it that Litestream must not see")
    told = ", ".join(f"{name} ({why})" for name, why in sorted(found.items()))
    return warn(f"scrubbed for Litestream: {told}", "is it meant for other programs?")


def permissions(site: Site) -> Told:
    """See that folders and databases can be written, on disks of this machine."""
    private_folder(site.settings.state_dir)
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    for folder in sorted({site.settings.state_dir, *_folders(site)}):
        _refuse_network(folder, mounts)
        _need(folder, os.W_OK | os.X_OK)
    for path in _files(site):
        _need(path, os.R_OK | os.W_OK)
    loose = [path for path in _files(site) if stat.S_IMODE(path.stat().st_mode) & 0o007]
    if loose:
        return warn(
            f"every user may read or write {counted(len(loose), 'database')}: "
            f"{', '.join(map(str, loose[:_NAMED]))}{_rest(len(loose))}",
            f"should others read them? chmod o-rwx {shlex.join(map(str, loose[:_NAMED]))}",
        )
    return ok(f"{site.settings.state_dir} is private, databases and their folders writable")


def filesystem(path: Path, mounts: Mapping[str, str]) -> str:
    """Return the kind of file system that *path* is on; empty if no mount holds it."""
    holding = (mounts[str(place)] for place in (path, *path.parents) if str(place) in mounts)
    return next(holding, "")


def disk(site: Site) -> Told:
    """See that there is room for what Litestream keeps beside each database."""
    needed: defaultdict[int, int] = defaultdict(lambda: _SPARE_BYTES)
    places = {_device(folder): folder for folder in (site.settings.state_dir, *_folders(site))}
    for path in _files(site):
        needed[_device(path)] += path.stat().st_size
    free = {folder: shutil.disk_usage(folder).free for folder in places.values()}
    least = min(free.values(), default=0)
    for device, folder in places.items():
        _need_space(folder, free[folder], needed[device])
    return ok(f"{decimal(least)} free", figures={"disk_free": f"{least}B"})


def open_files(site: Site) -> Told:
    """See that as many files may be open as the databases need."""
    litestream = site.settings.litestream
    size = litestream.databases_per_process if litestream.topology == "shared" else None
    wanted = needed(assign(site.databases, {}, size=size).values())
    # The supervisor raises the soft limit by itself, up to this one.
    limit = process.most_files()
    what = f"{wanted} files may be needed for {counted(len(site.databases), 'database')}"
    if limit < wanted:
        raise TooManyFiles(
            f"{limit} may be open, {what}",
            hint=f"can it be raised to {wanted}? ulimit -Hn, or LimitNOFILE= of systemd",
        )
    return ok(f"{what}, and may be open")


def retention(site: Site) -> Told:
    """Say what can be restored, for how long, and how exactly."""
    made = site.litestream_config("example", Path("example.db"), Path("meta"))
    sync_s = max(database.sync_interval_s for database in made.databases)
    return ok(
        f"{format_duration(made.snapshot_retention_s)} back; to {format_duration(sync_s)} in "
        f"the last {format_duration(made.l0_retention_s)}, before that to "
        f"{format_duration(max(made.levels_s[0], sync_s))}"
    )


def _rest(count: int) -> str:
    return f" and {count - _NAMED} more" if count > _NAMED else ""


def _files(site: Site) -> list[Path]:
    return [path for path in site.databases.values() if path.exists()]


def _folders(site: Site) -> Iterable[Path]:
    return (path.parent for path in site.databases.values() if path.parent.is_dir())


def _device(path: Path) -> int:
    return path.stat().st_dev


def _need(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise StorageUnavailable(
            f"{path} cannot be {'entered and ' if path.is_dir() else 'read and '}written",
            hint="does this run as the user that owns the databases?",
        )


def _need_space(folder: Path, free: int, needed: int) -> None:
    if free < needed:
        raise StorageUnavailable(
            f"{decimal(free)} free at {folder}, {decimal(needed)} are needed",
            hint="what can go? Litestream begins with a copy of each database beside it",
        )


def _refuse_network(folder: Path, mounts: Mapping[str, str]) -> None:
    kind = filesystem(folder.resolve(), mounts)
    if kind in _NETWORK:
        raise StorageUnavailable(
            f"{folder} is on a network file system ({kind})",
            hint="is there a local disk? SQLite's log needs memory that processes share",
        )
