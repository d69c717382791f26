"""`check` against a real server, with a real Litestream."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from obelisk_ops import process
from obelisk_ops.check import bucket, machine
from obelisk_ops.check.finding import Outcome, Told
from obelisk_ops.check.site import Reach, Site
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import ConfigError, OpsError, StorageUnavailable, VerificationFailed
from obelisk_ops.objectstore import ObjectStore, open_rules, open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.replica.leases import Lease, create_lease
from obelisk_ops.settings import DatabaseSettings, ReplicaSettings, Settings
from tests.command import PROGRAM
from tests.commands import Commands
from tests.faults import Slow
from tests.proxy import Proxy
from tests.supervised import Plain, Supervised
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("check")


def written(folder: Path, replica: ReplicaSettings) -> Path:
    """Write the configuration of somebody with one database."""
    place = {"url": replica.url, "endpoint": replica.endpoint, "region": replica.region}
    settings = {
        "replica": place | {"credentials": replica.credentials},
        "databases": [{"path": "runs/*.db"}],
    }
    file = folder / "obelisk-ops.yml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture
def site(tmp_path: Path, replica: ReplicaSettings, store: ObjectStore) -> Site:
    return site_for(tmp_path, replica, store)


def site_for(folder: Path, replica: ReplicaSettings, store: ObjectStore) -> Site:
    settings = Settings(
        state_dir=folder / "state",
        replica=replica,
        databases=(DatabaseSettings(path=f"{folder}/runs/*.db", name="{stem}"),),
    )
    reach = Reach(store=lambda _: store, rules=open_rules)
    made = Site(lambda: settings, reach, SystemClock())
    machine.configuration(made)
    return made


def failure(check: Callable[[Site], Told], site: Site) -> OpsError:
    with pytest.raises(OpsError) as caught:
        check(site)
    return caught.value


# -- all of it ---------------------------------------------------------------------------


def test_everything_is_proven_and_nothing_left_behind(
    tmp_path: Path, replica: ReplicaSettings, store: ObjectStore,
) -> None:  # fmt: skip
    Plain(tmp_path / "runs" / "a.db").close()
    (tmp_path / "runs" / "a.db").chmod(0o600)
    commands = Commands(written(tmp_path, replica))

    told = {each["name"]: each for each in commands.run("check", "--json").told["checks"]}

    outcomes = {name: each["outcome"] for name, each in told.items()}
    assert "fail" not in outcomes.values()
    assert {"pipe", "credentials", "conditional-writes", "clock", "cleanup"} <= {
        name for name, outcome in outcomes.items() if outcome == "ok"
    }
    assert outcomes["supervisor"] == "skip"
    assert f"s3://{replica.bucket}/{replica.prefix}/_obelisk/check/" in told["pipe"]["detail"]
    assert told["pipe"]["detail"].endswith(".ltx")
    assert list(store.list(replica.prefix)) == []
    assert list((tmp_path / ".obelisk-ops").iterdir()) == []


def test_ctrl_c_leaves_nothing_behind(
    tmp_path: Path, replica: ReplicaSettings, store: ObjectStore
) -> None:
    with (
        Proxy(int(str(replica.endpoint).rpartition(":")[2])) as line,
        line.fault(Slow(latency_s=600), method="GET", path=r"\.ltx$") as held,
    ):
        config = written(tmp_path, replace(replica, endpoint=line.endpoint))
        command = [str(PROGRAM), "-c", str(config), "check", "--only", "pipe"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: held.hits, 20, "what was shipped is read, and that goes on for ever")
        assert list(store.list(f"{replica.prefix}/_obelisk"))

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=180)

    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert list(store.list(replica.prefix)) == []
    assert list((tmp_path / ".obelisk-ops").iterdir()) == []


def test_the_supervisor_is_asked_where_one_runs(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    with Supervised(tmp_path, replica) as supervised:
        supervised.database("a").write()
        supervised.start()
        supervised.until_safe("a")
        commands = Commands(supervised.config)

        well = commands.run("check", "--only", "supervisor", "--only", "backups")
        (tmp_path / "runs" / "a.db").unlink()
        supervised.until("a", lambda row: row.state == "stopped", 5, "the file is gone")
        unwell = commands.run("check", "--only", "supervisor")

    assert well.status == 0
    assert "1 database, all ok" in well.out
    assert "1 of 1 database written from here, all there" in well.out
    assert unwell.status == 4
    assert "a is stopped" in unwell.out


def test_nagios_gets_its_own_line_and_status(tmp_path: Path, replica: ReplicaSettings) -> None:
    commands = Commands(written(tmp_path, replica))

    ran = commands.run("check", "--nagios", "--only", "versioning")

    [line] = ran.out.splitlines()
    assert ran.status == 1
    assert line.startswith("OBELISK-OPS WARNING - ")
    assert "clock_skew=" in line.partition("|")[2]


# -- the bucket --------------------------------------------------------------------------


class Careless:
    """A server that takes every write."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, body: bytes, **_: object) -> str:
        return self._store.put(key, body)


def test_a_server_that_takes_every_write_fails(
    tmp_path: Path, replica: ReplicaSettings, store: ObjectStore
) -> None:
    careless: Any = Careless(store)

    error = failure(bucket.conditional_writes, site_for(tmp_path, replica, careless))

    assert isinstance(error, VerificationFailed)
    assert "If-None-Match" in error.message


def test_what_a_dead_check_has_left_is_removed_and_nothing_else(
    site: Site, store: ObjectStore, replica: ReplicaSettings
) -> None:
    other, backup = f"{replica.prefix}/_obelisk/check/other/x", f"{replica.prefix}/a/e0001/x"
    for key in (other, backup, f"{site.claim()}x"):
        store.put(key, b"x")

    site.sweep()

    assert [info.key for info in store.list(replica.prefix)] == [other, backup]
    later: Any = Later(store)
    assert site_for(site.settings.state_dir.parent, replica, later).sweep() == (1, 0)
    assert [info.key for info in store.list(replica.prefix)] == [backup]


def test_a_lease_that_is_not_renewed_is_told(
    tmp_path: Path, replica: ReplicaSettings, store: ObjectStore
) -> None:
    site = site_for(tmp_path, replica, store)
    assert bucket.leases(site).detail == "no supervisor writes here"
    lease = Lease(
        id="4f", host="lab-7", boot_id="b", pid=1, ttl_ms=30_000, mark="m", renewed_at_ms=0
    )
    create_lease(store, replica.prefix, lease)

    later: Any = Later(store)
    fresh, stale = bucket.leases(site), bucket.leases(site_for(tmp_path, replica, later))

    assert (fresh.outcome, fresh.detail) == (Outcome.OK, "supervisors on lab-7")
    assert stale.outcome is Outcome.WARN
    assert stale.detail.startswith("not renewed any more: lab-7 (72")


class Later(Careless):
    """The same store, some hours from now."""

    def server_time_ms(self) -> int:
        return self._store.server_time_ms() + 7_200_000


@pytest.fixture(scope="module")
def kept_bucket(embedded_s3: S3Server) -> ReplicaSettings:
    """A bucket with object lock, and so with versions."""
    admin(embedded_s3).create_bucket(Bucket="kept", ObjectLockEnabledForBucket=True)
    return replace(embedded_s3.replica("exp"), bucket="kept")


def admin(server: S3Server) -> Any:
    return boto3.client(
        "s3", endpoint_url=server.endpoint, region_name=server.region,
        aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key,
    )  # fmt: skip


def test_a_plain_bucket_is_no_reason_to_be_green(site: Site) -> None:
    assert bucket.versioning(site).outcome is Outcome.WARN
    assert bucket.object_lock(site).outcome is Outcome.WARN
    assert bucket.lifecycle(site).outcome is Outcome.OK


@pytest.mark.parametrize(("days", "outcome"), [(7, Outcome.WARN), (30, Outcome.OK)])
def test_a_lock_is_compared_with_the_retention(
    days: int, outcome: Outcome, kept_bucket: ReplicaSettings, embedded_s3: S3Server,
    tmp_path: Path,
) -> None:  # fmt: skip
    default = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": days}}
    admin(embedded_s3).put_object_lock_configuration(
        Bucket="kept",
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": default},
    )
    site = site_for(tmp_path, kept_bucket, open_store(kept_bucket))

    told = bucket.object_lock(site)

    assert told.outcome is outcome
    assert f"GOVERNANCE for {days} days" in told.detail
    assert bucket.versioning(site).outcome is Outcome.OK
    assert "old versions" in bucket.lifecycle(site).detail


@pytest.mark.parametrize(
    ("prefix", "days", "is_refused"),
    [("exp/", 7, True), ("", 30, True), ("exp/", 31, False), ("other/", 1, False)],
)
def test_a_rule_that_deletes_backups_before_their_time_fails(
    prefix: str, days: int, *, is_refused: bool, embedded_s3: S3Server,
    kept_bucket: ReplicaSettings, tmp_path: Path,
) -> None:  # fmt: skip
    rule = {
        "ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": prefix},
        "Expiration": {"Days": days},
    }  # fmt: skip
    admin(embedded_s3).put_bucket_lifecycle_configuration(
        Bucket=kept_bucket.bucket, LifecycleConfiguration={"Rules": [rule]}
    )
    site = site_for(tmp_path, kept_bucket, open_store(kept_bucket))

    if is_refused:
        error = failure(bucket.lifecycle, site)
        assert isinstance(error, ConfigError)
        assert "'tidy' deletes objects" in error.message
    else:
        assert "old versions" in bucket.lifecycle(site).detail


def test_keys_that_may_not_ask_are_no_failure(tmp_path: Path, replica: ReplicaSettings) -> None:
    (tmp_path / "keys").touch(mode=0o600)
    (tmp_path / "keys").write_text(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing-of-value\n"
    )
    nobody = replace(replica, credentials=f"file:{tmp_path}/keys")
    site = site_for(tmp_path, nobody, open_store(nobody))

    for check in (bucket.versioning, bucket.object_lock, bucket.lifecycle, bucket.backups):
        assert check(site).outcome is Outcome.SKIP


# -- this machine ------------------------------------------------------------------------


def test_a_disk_without_room_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SPARE_BYTES", 1 << 60)
    machine.permissions(site)

    error = failure(machine.disk, site)

    assert isinstance(error, StorageUnavailable)
    assert "are needed" in error.message


def test_every_file_that_others_may_read_is_named(site: Site) -> None:
    runs = site.settings.state_dir.parent / "runs"
    runs.mkdir()
    for name in ("a", "b"):
        (runs / f"{name}.db").touch()
        (runs / f"{name}.db").chmod(0o604)
    machine.configuration(site)

    told = machine.permissions(site)

    assert told.outcome is Outcome.WARN
    assert f"2 databases: {runs}/a.db, {runs}/b.db" in told.detail
    assert f"chmod o-rwx {runs}/a.db {runs}/b.db" in told.hint


def test_too_few_files_are_told_with_the_way_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "most_files", lambda: 64)

    error = failure(machine.open_files, site)

    assert error.exit_status == 6
    assert error.message.startswith("64 may be open, ")
    assert "LimitNOFILE" in error.hint


def test_a_network_file_system_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "filesystem", lambda _path, _mounts: "nfs4")

    error = failure(machine.permissions, site)

    assert "network file system (nfs4)" in error.message


def test_variables_that_break_litestream_are_said_to_be_scrubbed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/ca.pem")

    told = machine.environment(site)

    assert told.outcome is Outcome.WARN
    assert "scrubbed for Litestream: AWS_CA_BUNDLE" in told.detail
