"""``config``: the settings in force, and what Litestream is given of them."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import click
import yaml

from obelisk_ops.cli.output import json_option, print_json
from obelisk_ops.core.durations import format_duration
from obelisk_ops.core.words import format_size
from obelisk_ops.settings import (
    AlertsSettings,
    DrillSettings,
    MetricsSettings,
    ReplicaSettings,
    Settings,
    load,
    origin,
)


@click.group()
def config() -> None:
    """Show the configuration."""


@config.command()
@json_option
@click.pass_obj
def show(file: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Show the settings in force, defaults included, and the file they come from."""
    settings = load(file)
    shown = _shown(settings)
    if as_json:
        print_json({"file": str(settings.path), **shown})
        return
    click.echo(f"# {settings.path}, with what it leaves out")
    known = {key: value for key, value in shown.items() if value is not None}
    click.echo(yaml.safe_dump(known, sort_keys=False, allow_unicode=True), nl=False)


@config.command()
@click.argument("name")
@click.pass_obj
def litestream(file: Path | None, name: str) -> None:
    """
    Show the configuration that Litestream has, or would get, for the database NAME.

    While a supervisor serves it: the file of its process. Else an example, which says so.
    """
    # Loads every room, of which `show` needs none.
    from obelisk_ops.app import litestream_config_text  # noqa: PLC0415

    click.echo(litestream_config_text(load(file), name), nl=False)


def _shown(settings: Settings) -> dict[str, Any]:
    """Return the settings in the shape of the file; none of them is a secret."""
    litestream = settings.litestream
    return {
        "replica": _shown_replica(settings.replica) if settings.replica else None,
        "databases": [{"path": entry.path, "name": entry.name} for entry in settings.databases],
        "state_dir": str(settings.state_dir),
        "litestream": {
            "topology": litestream.topology,
            "profile": litestream.profile,
            "databases_per_process": litestream.databases_per_process,
            "sync_interval": format_duration(litestream.sync_interval_s),
            "list_interval": format_duration(litestream.list_interval_s),
            "levels": [format_duration(interval) for interval in litestream.levels_s],
            "l0": {
                "retention": format_duration(litestream.l0_retention_s),
                "check": format_duration(litestream.l0_check_s),
            },
            "snapshot": {
                "interval": format_duration(litestream.snapshot_interval_s),
                "retention": format_duration(litestream.snapshot_retention_s),
            },
        },
        "stop_timeout": format_duration(settings.stop_timeout_s),
        "lease": {"ttl": format_duration(settings.lease_ttl_s)},
        "host": settings.host or platform.node(),
        "drill": _shown_drill(settings.drill),
        **({"restore": {"rate": format_size(rate)}} if (rate := settings.restore.rate) else {}),
        "metrics": _shown_metrics(settings.metrics),
        "alerts": _shown_alerts(settings.alerts),
    }


def _shown_drill(drill: DrillSettings) -> dict[str, Any]:
    most = drill.download_bytes
    return {
        "every": "never" if drill.every_s is None else format_duration(drill.every_s),
        "timeout": format_duration(drill.timeout_s),
        **({"download": format_size(most)} if most is not None else {}),
    }


def _shown_metrics(metrics: MetricsSettings) -> dict[str, Any]:
    listen = {"listen": metrics.listen} if metrics.listen else {}
    return {**listen, "allow_remote": metrics.allow_remote, "hosts": list(metrics.hosts)}


def _shown_alerts(alerts: AlertsSettings) -> dict[str, Any]:
    is_address = alerts.webhook is not None and alerts.webhook.startswith("http")
    shown = origin(alerts.webhook) if alerts.webhook and is_address else alerts.webhook
    return {
        **({"webhook": shown} if shown else {}),
        "command": list(alerts.command),
        "after": format_duration(alerts.after_s),
        "repeat": format_duration(alerts.repeat_s),
    }


def _shown_replica(replica: ReplicaSettings) -> dict[str, str]:
    endpoint = {"endpoint": replica.endpoint} if replica.endpoint else {}
    return {
        "url": replica.url,
        **endpoint,
        "region": replica.region,
        "credentials": replica.credentials,
    }
