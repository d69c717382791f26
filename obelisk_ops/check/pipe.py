"""
The proof: a change of a real database, shipped by a real Litestream, found in the bucket.

Everything in between is what the supervisor uses: the generated configuration, the
scrubbed environment, the position read from the files, and our own listing. The
database lives in the state folder and its replica below a folder that only this
check writes in; both are removed.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import apsw

from obelisk_ops import process
from obelisk_ops.check.finding import Told, ok
from obelisk_ops.check.site import Site
from obelisk_ops.errors import Unavailable, Unproven
from obelisk_ops.litestream import program
from obelisk_ops.litestream.config import Database
from obelisk_ops.litestream.local import newest_txid
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import list_epoch, read_header
from obelisk_ops.settings import hide
from obelisk_ops.storage import sql
from obelisk_ops.supervise.child import noteworthy
from obelisk_ops.supervise.launch import environment, launch
from obelisk_ops.supervise.ownership import FIRST_EPOCH
from obelisk_ops.supervise.position import LocalReader
from obelisk_ops.supervise.sidecar import private_folder

QUERIES = sql.load("obelisk_ops.check", "pipe.sql")

_NAME = "pipe"
_DEADLINE_S = 30.0
_STOP_S = 5.0
_LOOK_S = 0.2
#: Whatever is configured, nobody waits for a check as long as for a thrifty upload.
_SYNC_MAX_S = 1.0


def pipe(site: Site) -> Told:
    """Push one change through everything, and find it in the bucket."""
    with _folder(site) as place:
        with _database(place / "pipe.db") as connection, _Litestream(site, place) as running:
            running.until_shipped()
            began_ms = site.clock.elapsed_ms()
            connection.execute(QUERIES["change"], (site.id,))
            found = running.until_shipped()
        read_header(site.store, found)
    took_s = (site.clock.elapsed_ms() - began_ms) / 1000
    where = f"s3://{site.replica.bucket}/{found.key}"
    return ok(
        f"a change arrived after {took_s:.1f} s: {where}", figures={"pipe": f"{took_s:.2f}s"}
    )


class _Litestream:
    """The process, and what is known of its progress."""

    def __init__(self, site: Site, place: Path) -> None:
        self._site = site
        self._keys = ReplicaKeys(prefix=site.claim().rstrip("/"), name=_NAME)
        self._meta = place / "meta"
        self._log = place / "litestream.log"
        self._reader = LocalReader(place / "pipe.db", self._meta)
        self._pause = threading.Event()
        config = site.litestream_config(
            _NAME, place / "pipe.db", self._meta, prefix=self._keys.prefix
        )
        self._ready = launch(
            replace(config, databases=tuple(_hasty(each) for each in config.databases)),
            environment(site.replica),
            program=program.find(),
            file=place / "litestream.yml",
            socket_path=place / "s",
        )

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._child = process.spawn(self._ready.argv, env=self._ready.env, output=log)
        return self

    def __exit__(self, *_: object) -> None:
        # What it has not shipped is of no use; and nothing may be written after the clean-up.
        self._child.kill()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise Unavailable("Litestream cannot be killed", hint="does a disk hang?") from None

    def until_shipped(self) -> LtxFile:
        """
        Wait until everything that is committed is in a file that is listed.

        Raises:
            Unavailable: Litestream has ended.
            Unproven: It takes too long.
        """
        deadline_ms = self._site.clock.elapsed_ms() + round(_DEADLINE_S * 1000)
        while self._site.clock.elapsed_ms() < deadline_ms:
            # Listed in any case: a bucket that is gone explains why nothing comes.
            files = list_epoch(self._site.store, self._keys, FIRST_EPOCH)
            txid = self._captured()
            found = next((file for file in files if 0 < txid <= file.max_txid), None)
            if found is not None:
                return found
            if self._child.poll() is not None:
                raise Unavailable(f"Litestream ended: {self._last_words()}")
            self._pause.wait(_LOOK_S)
        raise Unproven(
            f"a change was not in the bucket after {_DEADLINE_S:g} s: {self._last_words()}",
            hint="can Litestream reach the endpoint by itself? It uses no proxy",
        )

    def _captured(self) -> int:
        """Return the transaction that holds all that is committed; 0 if there is none yet."""
        local = self._reader.read(newest_txid(self._meta))
        return local.txid if local.tail is not None and not local.tail.size else 0

    def _last_words(self) -> str:
        lines = hide(self._log.read_text(errors="replace")).splitlines()
        said = [told.words for line in lines if (told := noteworthy(line.strip()))]
        return f"Litestream says: {said[-1]}" if said else "Litestream says nothing"


def _hasty(database: Database) -> Database:
    return replace(database, sync_interval_s=min(database.sync_interval_s, _SYNC_MAX_S))


@contextmanager
def _folder(site: Site) -> Iterator[Path]:
    place = site.settings.state_dir / f"check-{site.id}"
    private_folder(place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _database(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(5_000)
        connection.pragma("journal_mode", "wal")
        connection.execute(QUERIES["create"])
        yield connection
    finally:
        connection.close()
