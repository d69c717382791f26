"""``s3 serve``: the embedded S3 server for laptops and CI."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.errors import ConfigError
from obelisk_ops.objectstore.embedded import DEFAULT_BUCKET, S3Server
from obelisk_ops.settings import check_bucket


@click.group()
def s3() -> None:
    """The embedded S3 server."""


def _bucket(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    try:
        return check_bucket(name)
    except ConfigError as wrong:
        raise click.BadParameter(wrong.message) from None


@s3.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Of the endpoint; 0 chooses one."
)
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path, file_okay=False),
    help="Keep data and keys here; without it they are removed at the end.",
)  # fmt: skip
@click.option(
    "--bucket", default=DEFAULT_BUCKET, show_default=True, callback=_bucket,
    help="Exists when the server is ready.",
)  # fmt: skip
@json_option
def serve(port: int, folder: Path | None, bucket: str, as_json: bool) -> None:  # noqa: ARG001, FBT001 — JSON in any case
    """
    Run a real S3 server on this machine until SIGTERM or Ctrl-C.

    Prints one line of JSON when it takes requests: the endpoint, the bucket and
    the key pair. It is for trusted machines; nothing listens beyond loopback.
    """
    with (
        _until_told(),
        _folder(folder) as place,
        S3Server(place, port=port, bucket=bucket) as server,
    ):
        print_json(
            {
                "endpoint": server.endpoint,
                "bucket": server.bucket,
                "region": server.region,
                "access_key_id": server.access_key,
                "secret_access_key": server.secret_key,
                "credentials_file": str(server.credentials_file),
                "dir": str(server.folder),
                "pid": os.getpid(),
            }
        )
        note(f"S3 server ready at {server.endpoint}; Ctrl-C stops it")
        server.watch()


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="obelisk-ops-s3-") as made:
        yield Path(made)


class _ToldToStop(BaseException):
    """Leaves the blocks that it passes in order, the start of the server included."""


@contextmanager
def _until_told() -> Iterator[None]:
    def stop(*_: object) -> None:
        for sign in before:  # once is enough: a second one must not cut the stopping short
            signal.signal(sign, signal.SIG_IGN)
        raise _ToldToStop

    before = {sign: signal.signal(sign, stop) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _ToldToStop:
        note("stopped")
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
