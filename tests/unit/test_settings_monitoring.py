"""The keys `metrics` and `alerts`: who may look, and where secret addresses come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from obelisk_ops.cli import main
from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import (
    AlertsSettings,
    MetricsSettings,
    hide,
    load,
    origin,
    webhook_address,
)


def write(folder: Path, text: str) -> Path:
    file = folder / "obelisk-ops.yml"
    file.write_text(text)
    return file


def test_every_key_arrives(tmp_path: Path) -> None:
    settings = load(
        write(
            tmp_path,
            "metrics: {listen: '0.0.0.0:9464', allow_remote: true, hosts: [ops.internal]}\n"
            "alerts: {webhook: file:hook, command: [page, '-q'], after: 5s, repeat: 1h}\n",
        )
    )

    assert settings.metrics == MetricsSettings(
        listen="0.0.0.0:9464",
        host="0.0.0.0",  # noqa: S104
        port=9464,
        allow_remote=True,
        hosts=("ops.internal",),
    )
    assert settings.alerts == AlertsSettings(
        webhook=f"file:{tmp_path}/hook", command=("page", "-q"), after_s=5, repeat_s=3_600
    )


def test_nothing_listens_and_nobody_is_told_by_default(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))

    assert settings.metrics.listen is None
    assert (settings.alerts.webhook, settings.alerts.command) == (None, ())


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)), ("localhost:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)), ("127.0.0.2:1", ("127.0.0.2", 1)),
    ],
)  # fmt: skip
def test_addresses_of_this_machine(
    listen: str, address: tuple[str, int], tmp_path: Path
) -> None:
    found = load(write(tmp_path, f"metrics: {{listen: '{listen}'}}")).metrics

    assert (found.host, found.port) == address


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("metrics: {listen: '0.0.0.0:9464'}", "metrics.listen: 0.0.0.0 can be reached"),
        ("metrics: {listen: '[::]:1'}", "metrics.listen: :: can be reached"),
        ("metrics: {listen: '9464'}", "metrics.listen: '9464' is no address and port"),
        ("metrics: {listen: 'host:1'}", "metrics.listen: 'host:1' is no address"),
        ("metrics: {listen: '127.0.0.1:70000'}", "is no address and port"),
        ("metrics: {listen: '127.0.0.1:٣'}", "is no address and port"),
        ("metrics: {allow_remote: 1}", "metrics.allow_remote: must be true or false"),
        ("metrics: {hosts: a}", "metrics.hosts: must be a list"),
        ("metrics: {hosts: [1]}", "metrics.hosts.0: must be a text"),
        ("metrics: {port: 1}", "metrics.port: unknown key"),
        ("alerts: {webhok: x}", "alerts.webhok: unknown key; nearest is 'webhook'"),
        ("alerts: {command: rm -rf}", "alerts.command: must be a list"),
        ("alerts: {after: 5}", "alerts.after: 5 has no unit"),
        ("alerts: {webhook: ftp://x}", "alerts.webhook: is no http"),
        ("alerts: {webhook: 'env:A B'}", "alerts.webhook: is no http"),
        ("alerts: {webhook: 'https://h/a b'}", "alerts.webhook: is no http"),
        ("alerts: {webhook: 'https://u:HUSH@h/'}", "alerts.webhook: holds more than"),
        ("alerts: {webhook: 'https://h/?token=HUSH'}", "alerts.webhook: holds more than"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_repeated(
    text: str, named: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))

    assert named in caught.value.message
    assert "HUSH" not in f"{caught.value.message} {caught.value.hint}"


def test_a_secret_address_is_read_when_it_is_needed_and_hidden_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = AlertsSettings(webhook=f"file:{tmp_path}/hook")
    for secret in ("https://hooks.example.org/T0/canary-one", "http://h/?t=canary-two"):
        (tmp_path / "hook").touch(mode=0o600)
        (tmp_path / "hook").write_text(f"{secret}\n")
        assert webhook_address(alerts) == secret
        assert hide(f"no answer from {secret}") == "no answer from [redacted]"
    monkeypatch.setenv("THE_HOOK", "https://h/canary-three")

    assert webhook_address(AlertsSettings(webhook="env:THE_HOOK")) == "https://h/canary-three"
    assert webhook_address(AlertsSettings(webhook="http://h/x")) == "http://h/x"
    assert webhook_address(AlertsSettings()) is None


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("https://h/canary", 0o644, "can be read by others"),
        ("canary-without-scheme", 0o600, "is no http"),
        (None, 0, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_address_is_told_without_its_content(
    content: str | None, mode: int, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "hook"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)

    with pytest.raises(ConfigError) as caught:
        webhook_address(AlertsSettings(webhook=f"file:{file}"))

    assert words in caught.value.message
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://hooks.example.org/T0/B0/secret", "https://hooks.example.org/[redacted]"),
        ("http://user:secret@h:8080", "http://h:8080"),
        ("http://h/?secret", "http://h/[redacted]"),
    ],
)
def test_what_is_shown_of_an_address(address: str, shown: str, tmp_path: Path) -> None:
    assert origin(address) == shown


def test_config_show_hides_the_path_of_an_address(tmp_path: Path) -> None:
    file = write(tmp_path, "alerts: {webhook: https://hooks.example.org/T0/canary}\n")

    shown = CliRunner().invoke(main, ["-c", str(file), "config", "show"]).output

    assert "https://hooks.example.org/[redacted]" in shown
    assert "canary" not in shown
