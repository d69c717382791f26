"""Fixtures that several kinds of tests share, and the account of what could not run."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest

from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.objectstore.embedded import READ_ONLY, S3Server
from obelisk_ops.settings import ReplicaSettings
from tests.databases import (
    FILES,
    SERVER,
    Databases,
    Files,
    Schemas,
    is_to_be_multiplied,
    left_for_chaos,
)
from tests.matrix import Matrix
from tests.pooler import Pooler, pooling
from tests.postgres import EXTERNAL, Postgres, running, version_of
from tests.postgres_version import Versions

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Where the suite runs in the background, what it starts would ignore Ctrl-C as it does.
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

#: a skip whose reason starts like this is right, in CI too
ALLOWED_SKIP = "not on this platform:"

#: an S3 endpoint such as MinIO's, used instead of the embedded server; keys from AWS_*
EXTERNAL_S3 = os.environ.get("OBELISK_OPS_TEST_S3")
EXTERNAL_BUCKET = "obelisk-ops-tests"

_AWS_GIVEN = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    """A running S3 server that tests share; each takes its own prefix."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    region: str
    credentials_file: Path

    def fresh_prefix(self) -> str:
        """Return a prefix below which there is nothing."""
        return f"t-{uuid.uuid4().hex[:12]}"

    def replica(self, prefix: str | None = None) -> ReplicaSettings:
        """Return settings that reach this server, on a fresh prefix if none is given."""
        return ReplicaSettings(
            bucket=self.bucket,
            prefix=self.fresh_prefix() if prefix is None else prefix,
            endpoint=self.endpoint,
            region=self.region,
            credentials=f"file:{self.credentials_file}",
        )

    def environment(self) -> dict[str, str]:
        """Return the variables with which `credentials: env` reaches this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@pytest.fixture(autouse=True)
def _bare_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test sees the keys, profiles, settings or cache of whoever runs it."""
    for name in [*os.environ]:
        if name.startswith(("AWS_", "OBELISK_OPS_CONFIG")):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def embedded_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server of this pytest process; its identity `reader` may only read."""
    folder = tmp_path_factory.mktemp("s3")
    yield from _running(S3Server(folder, bucket="tests", identities={"reader": READ_ONLY}))


@pytest.fixture(scope="session")
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> S3:
    """The S3 server of this run: the embedded one, or what OBELISK_OPS_TEST_S3 names."""
    if EXTERNAL_S3:
        return _external(EXTERNAL_S3, tmp_path_factory.mktemp("s3"))
    server: S3Server = request.getfixturevalue("embedded_s3")
    return S3(
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        bucket=server.bucket,
        region=server.region,
        credentials_file=server.credentials_file,
    )


@pytest.fixture
def replica(s3: S3) -> ReplicaSettings:
    """Settings for a fresh prefix of the shared server."""
    return s3.replica()


@pytest.fixture
def store(replica: ReplicaSettings) -> ObjectStore:
    """The object store behind `replica`."""
    return open_store(replica)


@pytest.fixture
def private_s3(tmp_path: Path) -> Iterator[S3Server]:
    """A server of this test's own, to be stopped, frozen and started; always embedded."""
    yield from _running(S3Server(tmp_path / "s3", bucket="tests"))


def _running(server: S3Server) -> Iterator[S3Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop(kill=True)


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """The PostgreSQL server of this run: the embedded one, or what the environment names."""
    with contextlib.ExitStack() as stack:
        url = EXTERNAL or stack.enter_context(running()).base_url
        version = version_of(url)
        pytestconfig.stash[Versions.key].add(version)
        hand = stack.enter_context(psycopg.connect(url, autocommit=True))
        server = Postgres(url, version, hand)
        yield server
        if EXTERNAL:
            server.drop()


@pytest.fixture(scope="session")
def pooler(postgres: Postgres) -> Iterator[Pooler]:
    """What gives each transaction another connection of that server."""
    with pooling(postgres.base_url) as found:
        yield found


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Where executions are kept: its parameter says whether in files, or on a server."""
    if request.param == FILES:
        yield Files()
        return
    with contextlib.ExitStack() as stack:
        yield Schemas(request.getfixturevalue("postgres"), stack)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for databases on each kind of them."""
    if "databases" in metafunc.fixturenames and is_to_be_multiplied(metafunc.definition):
        metafunc.parametrize("databases", [FILES, SERVER], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make test-chaos` what the default run has no time for on a server."""
    for item in left_for_chaos(items):
        item.add_marker(pytest.mark.chaos)


def _external(endpoint: str, folder: Path) -> S3:
    import boto3  # noqa: PLC0415 — slow to import, and seldom needed here
    from botocore.config import Config  # noqa: PLC0415

    pair = _AWS_GIVEN["AWS_ACCESS_KEY_ID"], _AWS_GIVEN["AWS_SECRET_ACCESS_KEY"]
    region = _AWS_GIVEN.get("AWS_REGION") or "us-east-1"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=pair[0],
        aws_secret_access_key=pair[1],
        config=Config(s3={"addressing_style": "path"}),
    )
    taken = client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists
    with contextlib.suppress(*taken):
        client.create_bucket(Bucket=EXTERNAL_BUCKET)
    file = folder / "credentials"
    file.touch(mode=0o600)
    file.write_text(
        f"[default]\naws_access_key_id = {pair[0]}\naws_secret_access_key = {pair[1]}\n"
    )
    return S3(
        endpoint=endpoint,
        access_key=pair[0],
        secret_key=pair[1],
        bucket=EXTERNAL_BUCKET,
        region=region,
        credentials_file=file,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep the account of the fault matrix, and of the servers that ran."""
    config.pluginmanager.register(Matrix(config), "fault-matrix")
    config.pluginmanager.register(Versions(config), "postgres-versions")


def _could_not_run(config: pytest.Config) -> list[str]:
    reporter: TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    return sorted(f"{report.nodeid}: {_reason(report)}" for report in skipped)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """List what could not run, always under the same heading."""
    skipped = _could_not_run(config)
    if skipped:
        terminalreporter.section("could not run here")
        for line in skipped:
            terminalreporter.line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI everything must run: a skipped test fails the run."""
    if os.environ.get("CI") != "true":
        return
    if any(f": {ALLOWED_SKIP}" not in line for line in _could_not_run(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
