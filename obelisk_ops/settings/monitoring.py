"""Reads who may look at the supervisor, and whom it tells."""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from obelisk_ops.errors import ConfigError
from obelisk_ops.settings.environment import variable
from obelisk_ops.settings.secrets import remember
from obelisk_ops.settings.section import Section, absolute
from obelisk_ops.settings.values import AlertsSettings, MetricsSettings

METRICS_KEYS = ("listen", "allow_remote", "hosts")
ALERTS_KEYS = ("webhook", "command", "after", "repeat")

_FORMS = "write file:PATH or env:NAME"


def read_metrics(section: Section) -> MetricsSettings:
    """
    Return where metrics are fetched from.

    Raises:
        ConfigError: It is no address, or one that others can reach and that was not allowed.
    """
    allow_remote = section.flag("allow_remote", default=False)
    hosts = section.texts("hosts")
    if "listen" not in section.given:
        return MetricsSettings(allow_remote=allow_remote, hosts=hosts)
    listen, place = section.text("listen"), section.at("listen")
    host, port = _address(listen, place)
    if not ipaddress.ip_address(host).is_loopback and not allow_remote:
        raise ConfigError(
            f"{place}: {host} can be reached from other machines",
            hint="write 127.0.0.1, or allow_remote: true if a firewall or a proxy guards it",
        )
    return MetricsSettings(
        listen=listen, host=host, port=port, allow_remote=allow_remote, hosts=hosts
    )


def read_alerts(section: Section, folder: Path) -> AlertsSettings:
    """
    Return who is told of what.

    Raises:
        ConfigError: An address is none, or holds a secret.
    """
    defaults = AlertsSettings()
    given = section.text("webhook") if "webhook" in section.given else None
    return AlertsSettings(
        webhook=_webhook(given, folder, section.at("webhook")) if given else None,
        command=section.texts("command"),
        after_s=section.duration("after", defaults.after_s, least=0.0),
        repeat_s=section.duration("repeat", defaults.repeat_s, least=1.0),
    )


def webhook_address(alerts: AlertsSettings) -> str | None:
    """
    Return where the webhook is now; None if there is none.

    Raises:
        ConfigError: The file or the variable is not there, or holds no address.
    """
    form = alerts.webhook
    if form is None:
        return None
    kind, _, rest = form.partition(":")
    if kind not in {"file", "env"}:
        return form
    found = _private_text(Path(rest)) if kind == "file" else variable(rest)
    address = remember((found or "").strip())
    # Not shown: whoever has put something else there may have put a secret.
    return _http(address, f"alerts.webhook ({form})", is_secret=True)


def origin(address: str) -> str:
    """Return what may be shown of an address: not its path, which is often a secret."""
    parts = urlsplit(address)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return where if parts.path in {"", "/"} and not parts.query else f"{where}/[redacted]"


def _private_text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    f"alerts.webhook: {file} can be read by others (mode {mode:04o})",
                    hint=f"chmod 600 {file}",
                )
            return stream.read(64 * 1024)
    except (OSError, UnicodeDecodeError) as wrong:
        why = wrong.strerror if isinstance(wrong, OSError) else "not UTF-8 text"
        raise ConfigError(f"alerts.webhook: {file} cannot be read: {why}") from None


def _webhook(text: str, folder: Path, place: str) -> str:
    kind, colon, rest = text.partition(":")
    if kind == "file" and colon and rest:
        return f"file:{absolute(rest, folder, place)}"
    if kind == "env" and colon and rest.isidentifier():
        return text
    return _http(text, place)


def _http(address: str, place: str, *, is_secret: bool = False) -> str:
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or not address.isascii() or not address.isprintable() or " " in address:
        raise ConfigError(f"{place}: is no http:// or https:// address", hint=_FORMS)
    if not is_secret and ("@" in address or "?" in address):
        raise ConfigError(
            f"{place}: holds more than an address",
            hint=f"one with a secret in it does not stand in this file: {_FORMS}",
        )
    return address


def _address(listen: str, place: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]").replace("localhost", "127.0.0.1")
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdecimal() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65_535:  # noqa: PLR2004 - ports
        raise ConfigError(
            f"{place}: {listen!r} is no address and port", hint="write it like 127.0.0.1:9464"
        )
    return host, number
