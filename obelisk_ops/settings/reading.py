"""Reads the configuration file into Settings, or says what is wrong and where."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import yamltext
from obelisk_ops.settings.databases import check_template
from obelisk_ops.settings.environment import variable
from obelisk_ops.settings.monitoring import (
    ALERTS_KEYS,
    METRICS_KEYS,
    read_alerts,
    read_metrics,
)
from obelisk_ops.settings.section import CREDENTIALS_HINT, Section, absolute
from obelisk_ops.settings.values import (
    DAY_S,
    PROFILE_NAMES,
    PROFILES,
    STOP_TIMEOUT_S,
    SYNC_SHARE,
    DatabaseSettings,
    DrillSettings,
    LitestreamSettings,
    Profile,
    ReplicaSettings,
    RestoreSettings,
    Settings,
)

DEFAULT_FILE = "obelisk-ops.yml"
DEFAULT_REGION = "us-east-1"

_BYTES_MAX = 256 * 1024
_WRONG_FILE = "name the configuration, a YAML file that may be read, with -c FILE"
_URL_HINT = "write it like s3://bucket/experiments"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_TOP_KEYS = (
    "replica", "databases", "state_dir", "litestream", "stop_timeout", "lease", "drill", "host",
    "restore", "metrics", "alerts",
)  # fmt: skip
_LITESTREAM_KEYS = (
    "topology", "databases_per_process", "profile", "sync_interval", "list_interval", "levels",
    "l0", "snapshot",
)  # fmt: skip
#: Litestream has levels 1 to 8 for compacted files.
_LEVELS_MAX = 8
#: A Litestream with ten thousand databases runs out of threads.
_PER_PROCESS_MAX = 1_000


def load(path: Path | None = None) -> Settings:
    """
    Read the configuration: *path*, else ``OBELISK_OPS_CONFIG``, else ``./obelisk-ops.yml``.

    Raises:
        ConfigError: There is none, or it is wrong; nothing of it is in force.
    """
    file = _find(path)
    try:
        return _settings(yamltext.load(_text(file)), file)
    except yamltext.Malformed as wrong:
        raise ConfigError(f"{file}: {wrong}", hint=wrong.hint) from None
    except ConfigError as wrong:
        raise ConfigError(f"{file}: {wrong.message}", hint=wrong.hint) from None


def check_bucket(name: str) -> str:
    """
    Return *name* if it can name a bucket.

    Raises:
        ConfigError: It cannot.
    """
    if not _BUCKET.fullmatch(name) or ".." in name:
        raise ConfigError(
            f"{name!r} cannot name a bucket",
            hint="3 to 63 lower-case letters, digits, '.' and '-'",
        )
    return name


def _find(path: Path | None) -> Path:
    named = path or (Path(given) if (given := variable("OBELISK_OPS_CONFIG")) else None)
    file = Path(os.path.abspath(named or DEFAULT_FILE))  # noqa: PTH100 — resolve() would leave a linked folder
    if named is None and not file.exists():
        raise ConfigError(
            f"no configuration: there is no {DEFAULT_FILE} in {file.parent}",
            hint="name one with -c FILE or OBELISK_OPS_CONFIG; the least to write is "
            "'replica: {url: s3://bucket/prefix}' and 'databases: [{path: runs/*.db}]'",
        )
    return file


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(_BYTES_MAX + 1)
        if len(content) > _BYTES_MAX:
            raise ConfigError(f"larger than {_BYTES_MAX // 1024} KiB", hint=_WRONG_FILE)
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("no such file", hint="name an existing one with -c FILE") from None
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text", hint=_WRONG_FILE) from None
    except OSError as wrong:
        raise ConfigError(f"cannot be read: {wrong.strerror}", hint=_WRONG_FILE) from None


def _settings(document: object, file: Path) -> Settings:
    top = Section(document, "", _TOP_KEYS)
    folder = file.parent
    stop_timeout_s = top.duration("stop_timeout", STOP_TIMEOUT_S, least=2.0)
    return Settings(
        path=file,
        replica=_replica(top.given["replica"], folder) if "replica" in top.given else None,
        databases=tuple(_databases(top.given.get("databases", []), folder)),
        state_dir=Path(absolute(top.text("state_dir", ".obelisk-ops"), folder, "state_dir")),
        litestream=replace(
            _litestream(top.section("litestream", _LITESTREAM_KEYS)),
            shutdown_sync_s=stop_timeout_s * SYNC_SHARE,
        ),
        stop_timeout_s=stop_timeout_s,
        lease_ttl_s=top.section("lease", ("ttl",)).duration("ttl", 30.0, least=1.0),
        drill=_drill(top.section("drill", ("every", "timeout", "download"))),
        restore=RestoreSettings(rate=top.section("restore", ("rate",)).size("rate")),
        host=_host(top.text("host", variable("OBELISK_OPS_HOST") or "")),
        metrics=read_metrics(top.section("metrics", METRICS_KEYS)),
        alerts=read_alerts(top.section("alerts", ALERTS_KEYS), folder),
    )


def _drill(section: Section) -> DrillSettings:
    standard = DrillSettings()
    is_off = section.given.get("every") == "never"
    return DrillSettings(
        every_s=None if is_off else section.duration("every", DAY_S, least=1.0),
        timeout_s=section.duration("timeout", standard.timeout_s, least=1.0),
        download_bytes=section.size("download"),
    )


def _host(name: str) -> str:
    if name and not _HOST.fullmatch(name):
        raise ConfigError(
            f"host: {name!r} cannot name a machine",
            hint="1 to 253 letters, digits, '.', '_' and '-'; leave it out for its own name",
        )
    return name


def _replica(document: object, folder: Path) -> ReplicaSettings:
    section = Section(document, "replica", ("url", "endpoint", "region", "credentials"))
    if "url" not in section.given:
        raise ConfigError("replica.url: is missing", hint=_URL_HINT)
    bucket, prefix = _split_url(section.text("url"))
    endpoint = section.text(
        "endpoint", variable("AWS_ENDPOINT_URL_S3") or variable("AWS_ENDPOINT_URL") or ""
    )
    region = section.text(
        "region", variable("AWS_REGION") or variable("AWS_DEFAULT_REGION") or DEFAULT_REGION
    )
    if not _REGION.fullmatch(region):
        raise ConfigError("replica.region: not the name of a region, such as us-east-1")
    return ReplicaSettings(
        bucket=bucket,
        prefix=prefix,
        endpoint=_endpoint(endpoint) if endpoint else None,
        region=region,
        credentials=_credentials_form(section.text("credentials", "env"), folder),
    )


def _split_url(url: str) -> tuple[str, str]:
    hint = _URL_HINT
    if "@" in url or "?" in url:  # said before the value could be shown: it may hold a secret
        raise ConfigError(
            "replica.url: holds more than a bucket and a prefix", hint=CREDENTIALS_HINT
        )
    if not url.startswith("s3://"):
        raise ConfigError(f"replica.url: {url!r} is no s3:// address", hint=hint)
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    try:
        check_bucket(bucket)
    except ConfigError as wrong:
        raise ConfigError(f"replica.url: {wrong.message}", hint=wrong.hint) from None
    prefix = prefix.removesuffix("/")
    for part in prefix.split("/") if prefix else ():
        if not _SEGMENT.fullmatch(part) or part in {".", ".."}:
            raise ConfigError(
                f"replica.url: {part!r} cannot be a part of the prefix",
                hint="letters, digits, '.', '_' and '-' between single slashes",
            )
    return bucket, prefix


def _endpoint(url: str) -> str:
    hint = "write it like http://127.0.0.1:9000; leave it out for AWS"
    if "@" in url:
        raise ConfigError("replica.endpoint: holds credentials", hint=CREDENTIALS_HINT)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"replica.endpoint: {url!r} is no address", hint=hint) from None
    plain = parts.path in {"", "/"} and not parts.query and not parts.fragment
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not plain:
        raise ConfigError(
            f"replica.endpoint: {url!r} is no http:// or https:// address", hint=hint
        )
    return url.removesuffix("/")


def _credentials_form(text: str, folder: Path) -> str:
    kind, colon, rest = text.partition(":")
    if text in {"env", "ambient"}:
        return text
    if kind == "profile" and re.fullmatch(r"[^\s\[\]]{1,128}", rest):
        return text
    if kind == "file" and colon and rest:
        return "file:" + absolute(rest, folder, "replica.credentials")
    # The value is not shown: whoever wrote something else here may have written a secret.
    raise ConfigError(
        "replica.credentials: not a form that is understood", hint=CREDENTIALS_HINT
    )


def _databases(document: object, folder: Path) -> Iterator[DatabaseSettings]:
    if not isinstance(document, list):
        raise ConfigError("databases: must be a list", hint="start each entry with '- path:'")
    for index, entry in enumerate(document):
        section = Section(entry, f"databases[{index}]", ("path", "name"))
        path = absolute(section.text("path"), folder, section.at("path"))
        name = section.text("name", "{stem}")
        check_template(name, section.at("name"), is_glob=glob.has_magic(path))
        yield DatabaseSettings(path=path, name=name)


def _litestream(section: Section) -> LitestreamSettings:
    defaults = PROFILES[_profile(section)]
    snapshot = section.section("snapshot", ("interval", "retention"))
    l0 = section.section("l0", ("retention", "check"))
    topology = section.text("topology", defaults.topology)
    if topology not in {"per-database", "shared"}:
        raise ConfigError(
            f"litestream.topology: {topology!r} is unknown", hint="write per-database or shared"
        )
    made = replace(
        defaults,
        topology="shared" if topology == "shared" else "per-database",
        databases_per_process=section.count(
            "databases_per_process", defaults.databases_per_process, most=_PER_PROCESS_MAX
        ),
        sync_interval_s=section.duration("sync_interval", defaults.sync_interval_s, least=0.01),
        list_interval_s=section.duration("list_interval", defaults.list_interval_s, least=0.1),
        levels_s=section.durations("levels", defaults.levels_s, least=0.1),
        l0_retention_s=l0.duration("retention", defaults.l0_retention_s, least=1.0),
        l0_check_s=l0.duration("check", defaults.l0_check_s, least=1.0),
        snapshot_interval_s=snapshot.duration(
            "interval", defaults.snapshot_interval_s, least=1.0
        ),
        snapshot_retention_s=snapshot.duration(
            "retention", defaults.snapshot_retention_s, least=1.0
        ),
    )
    _check_litestream(made)
    return made


def _profile(section: Section) -> Profile:
    wanted = section.text("profile", "balanced")
    found = next((name for name in PROFILE_NAMES if name == wanted), None)
    if found is None:
        raise ConfigError(
            f"litestream.profile: {wanted!r} is unknown", hint="write cost, balanced or tight"
        )
    return found


def _check_litestream(made: LitestreamSettings) -> None:
    if made.snapshot_retention_s < made.snapshot_interval_s:
        raise ConfigError(
            "litestream.snapshot.retention: shorter than litestream.snapshot.interval",
            hint="keep snapshots at least until the next one is made",
        )
    if len(made.levels_s) > _LEVELS_MAX or sorted(set(made.levels_s)) != list(made.levels_s):
        raise ConfigError(
            "litestream.levels: must be at most 8 durations, each longer than the one before",
            hint="like [30s, 5m, 1h]",
        )
