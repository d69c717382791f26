"""The configuration file: what is accepted, and how what is not is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import DatabaseSettings, LitestreamSettings, ReplicaSettings, load
from obelisk_ops.settings.values import PROFILES

FULL = """
replica:
  url: s3://backups/experiments/one/
  endpoint: http://127.0.0.1:9000/
  region: eu-west-1
  credentials: file:keys
databases:
  - path: runs/*.db
    name: "{stem}"
  - path: /srv/fixed.db
state_dir: state
litestream:
  topology: shared
  sync_interval: 500ms
  snapshot: {interval: 1h30m, retention: 7d}
lease: {ttl: 10s}
drill: {every: 12h}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "obelisk-ops.yml"
    file.write_text(text)
    return file


def test_every_key_arrives(tmp_path: Path) -> None:
    settings = load(write(tmp_path, FULL))

    assert settings.replica == ReplicaSettings(
        bucket="backups",
        prefix="experiments/one",
        endpoint="http://127.0.0.1:9000",
        region="eu-west-1",
        credentials=f"file:{tmp_path}/keys",
    )
    assert settings.replica.url == "s3://backups/experiments/one"
    assert settings.databases == (
        DatabaseSettings(path=f"{tmp_path}/runs/*.db", name="{stem}"),
        DatabaseSettings(path="/srv/fixed.db", name="{stem}"),
    )
    assert settings.state_dir == tmp_path / "state"
    assert settings.litestream == LitestreamSettings(
        topology="shared",
        sync_interval_s=0.5,
        snapshot_interval_s=5_400,
        snapshot_retention_s=7 * 86_400,
    )
    assert (settings.lease_ttl_s, settings.drill.every_s) == (10, 43_200)


@pytest.mark.parametrize("text", ["", "lease:\n", "{}\n", "# nothing\n", "\ufefflease: {}\n"])
def test_what_is_left_out_has_its_default(tmp_path: Path, text: str) -> None:
    settings = load(write(tmp_path, text))

    assert settings.replica is None
    assert settings.databases == ()
    assert settings.state_dir == tmp_path / ".obelisk-ops"
    assert settings.litestream == LitestreamSettings()
    assert (settings.lease_ttl_s, settings.drill.every_s) == (30, 86_400)


def test_a_profile_sets_what_is_left_out(tmp_path: Path) -> None:
    text = "litestream: {profile: cost, list_interval: 5m, levels: [1m], l0: {check: 1h}}\n"

    settings = load(write(tmp_path, text))

    assert settings.litestream == replace(
        PROFILES["cost"], list_interval_s=300.0, levels_s=(60.0,), l0_check_s=3_600.0
    )
    assert settings.litestream.sync_interval_s == 10


def test_region_and_endpoint_come_from_the_environment_when_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")

    replica = load(write(tmp_path, "replica: {url: s3://bucket}\n")).replica

    assert replica is not None
    assert (replica.endpoint, replica.region) == ("http://127.0.0.1:1", "eu-north-1")
    assert (replica.prefix, replica.url) == ("", "s3://bucket")


@pytest.mark.parametrize(
    ("text", "every_s", "timeout_s", "download"),
    [
        ("drill: {every: never}", None, 3_600, None),
        ("drill: {every: 90s, timeout: 5m, download: 2GiB}", 90, 300, 2 << 30),
    ],
)
def test_drills(
    tmp_path: Path, text: str, every_s: float | None, timeout_s: float, download: int | None
) -> None:
    drill = load(write(tmp_path, text)).drill

    assert (drill.every_s, drill.timeout_s, drill.download_bytes) == (
        every_s,
        timeout_s,
        download,
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        # keys
        (
            "litestream: {snapshot: {intervall: 6h}}",
            "litestream.snapshot.intervall: unknown key; nearest is 'interval'",
        ),
        ("replicas: {url: s3://bucket}", "replicas: unknown key; nearest is 'replica'"),
        (
            "litestream: {sync-intervall: 1s}",
            "litestream.sync-intervall: unknown key; nearest is 'sync_interval'",
        ),
        ("zzz: 1", "zzz: unknown key"),
        (
            "databases: [{path: a.db, nam: x}]",
            "databases[0].nam: unknown key; nearest is 'name'",
        ),
        ("lease: {ttl: 1s}\nlease: {ttl: 2s}", "line 2: duplicate key 'lease'"),
        ("lease:\n  ttl: 1s\n  ttl: 2s", "line 3: duplicate key 'ttl'"),
        ("1: x", "line 1: a key must be a text"),
        ("? [a]\n: x", "line 1: a key must be a text"),
        # types
        ("[]", "the top: must be a mapping"),
        ("just text", "the top: must be a mapping"),
        ("lease: 30s", "lease: must be a mapping"),
        ("databases: runs/*.db", "databases: must be a list"),
        ("databases: [a.db]", "databases[0]: must be a mapping"),
        ("databases: [{name: a}]", "databases[0].path: is missing"),
        ("databases: [{path: 5}]", "databases[0].path: must be a text"),
        ("databases: [{path: ''}]", "databases[0].path: must be a text"),
        ('databases: [{path: "a\\0b"}]', "databases[0].path: holds a control character"),
        ("state_dir: [a]", "state_dir: must be a text"),
        ("state_dir: 2024-01-01", "state_dir: must be a text"),
        # durations
        ("lease: {ttl: 30}", "lease.ttl: 30 has no unit"),
        ("lease: {ttl: 1.5}", "lease.ttl: 1.5 has no unit"),
        ("lease: {ttl: true}", "lease.ttl: must be a text"),
        ("lease: {ttl: null}", "lease.ttl: is missing"),
        ("lease: {ttl: 1x}", "lease.ttl: '1x' is not a duration"),
        ("lease: {ttl: -1s}", "lease.ttl: '-1s' is not a duration"),
        ("lease: {ttl: 30s1m}", "lease.ttl: '30s1m' is not a duration"),
        ("lease: {ttl: 100ms}", "lease.ttl: 100ms is out of range"),
        ("lease: {ttl: 999999999d}", "lease.ttl: 999999999d is out of range"),
        (
            "litestream: {snapshot: {interval: 2d, retention: 1d}}",
            "litestream.snapshot.retention: shorter than",
        ),
        ("litestream: {topology: both}", "litestream.topology: 'both' is unknown"),
        ("litestream: {profile: fast}", "litestream.profile: 'fast' is unknown"),
        ("litestream: {levels: 30s}", "litestream.levels: must be a list"),
        ("litestream: {levels: []}", "litestream.levels: must be a list"),
        ("litestream: {levels: [30s, 5]}", "litestream.levels[1]: 5 has no unit"),
        ("litestream: {levels: [5m, 30s]}", "litestream.levels: must be at most 8"),
        ("drill: {download: 5}", "drill.download: must be a text"),
        ("drill: {download: 5GB}", "drill.download: '5GB' is no amount of bytes"),
        ("restore: {rate: 0KiB}", "restore.rate: '0KiB' is no amount of bytes"),
        ("drill: {every: 0s}", "drill.every: 0s is out of range"),
        # the place in the bucket
        ("replica: {}", "replica.url: is missing"),
        (
            "replica: {url: https://bucket/p}",
            "replica.url: 'https://bucket/p' is no s3:// address",
        ),
        ("replica: {url: 's3://'}", "replica.url: '' cannot name a bucket"),
        ("replica: {url: s3://Bucket/a}", "replica.url: 'Bucket' cannot name a bucket"),
        ("replica: {url: s3://a..b/a}", "replica.url: 'a..b' cannot name a bucket"),
        ("replica: {url: s3://bucket/a/../b}", "replica.url: '..' cannot be a part"),
        ("replica: {url: s3://bucket//a}", "replica.url: '' cannot be a part"),
        (
            "replica: {url: 's3://bucket/${TENANT}'}",
            "replica.url: '${TENANT}' cannot be a part",
        ),
        ("replica: {url: 's3://bucket/a b'}", "replica.url: 'a b' cannot be a part"),
        (
            "replica: {url: s3://bucket, endpoint: 127.0.0.1:9000}",
            "replica.endpoint: '127.0.0.1:9000' is no http",
        ),
        (
            "replica: {url: s3://bucket, endpoint: 'http://h:9/x'}",
            "replica.endpoint: 'http://h:9/x' is no http",
        ),
        (
            "replica: {url: s3://bucket, endpoint: 'http://h:99999'}",
            "replica.endpoint: 'http://h:99999' is no address",
        ),
        (
            "replica: {url: s3://bucket, region: 'a b'}",
            "replica.region: not the name of a region",
        ),
        # names
        (
            "databases: [{path: '*.db', name: x}]",
            "databases[0].name: 'x' gives every file one name",
        ),
        ("databases: [{path: a.db, name: '{stem'}]", "databases[0].name: unbalanced braces"),
        (
            "databases: [{path: a.db, name: '{stem.__class__}'}]",
            "databases[0].name: '{stem.__class__}' is no template",
        ),
        (
            "databases: [{path: a.db, name: '{stem:>9}'}]",
            "databases[0].name: '{stem:>9}' is no template",
        ),
        (
            "databases: [{path: a.db, name: '{host}'}]",
            "databases[0].name: '{host}' is no template",
        ),
        ("databases: [{path: a.db, name: -a}]", "'-a' cannot name a database"),
        # YAML itself
        ("a: [", "line 1: not valid YAML"),
        ("a: b: c", "line 1: not valid YAML"),
        ("a: 1\n--- \nb: 2", "line 2: not valid YAML"),
        ("state_dir: !!python/object:os.system x", "line 1: not valid YAML"),
        ("drill: &a {every: 1h}\nlease: *a", "line 2: aliases are not accepted"),
        ("state_dir: 2024-13-45", "a date or number that does not exist"),
        ("a: \x07", "not valid YAML"),
        ("[" * 100_000, "not valid YAML (nested too deeply)"),
        ("# " + "x" * 300_000, "larger than 256 KiB"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    file = write(tmp_path, text)

    with pytest.raises(ConfigError) as wrong:
        load(file)

    said = wrong.value.message.removeprefix(f"{file}: ")
    assert said[: len(named)] == named
    assert wrong.value.exit_status == 3


@pytest.mark.parametrize(
    "text",
    [
        "replica: {url: s3://bucket, secret_access_key: HUSH}",
        "replica: {url: s3://bucket, access-key-id: HUSH}",
        "replica: {url: s3://bucket, credentials: HUSH}",
        "replica: {url: s3://bucket, credentials: 'env:HUSH'}",
        "replica: {url: s3://bucket, credentials: {secret: HUSH}}",
        "replica: {url: 's3://KEY:HUSH@bucket'}",
        "replica: {url: 's3://bucket?secret=HUSH'}",
        "replica: {url: s3://bucket, endpoint: 'http://KEY:HUSH@host'}",
        "replica: {url: s3://bucket, password: [HUSH",
        "litestream: {token: HUSH}",
    ],
)
def test_a_secret_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(write(tmp_path, text))

    assert "HUSH" not in wrong.value.message + wrong.value.hint


def test_the_file_is_the_one_named_or_that_of_the_environment_or_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no obelisk-ops\.yml") as none:
        load()
    assert "-c FILE" in none.value.hint

    here = write(tmp_path, "")
    other = tmp_path / "other.yml"
    other.write_text("")
    third = tmp_path / "third.yml"
    third.write_text("")

    assert load().path == here
    monkeypatch.setenv("OBELISK_OPS_CONFIG", "other.yml")
    assert load().path == other
    assert load(Path("third.yml")).path == third


@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "no such file"), (b"\xff\xfe\x00", "not UTF-8 text")],
    ids=["missing", "not text"],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, named: str
) -> None:
    file = tmp_path / "c.yml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=named):
        load(file)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
