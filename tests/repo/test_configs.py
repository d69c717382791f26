"""Every example configuration is one that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from obelisk_ops.cli.config import _shown
from obelisk_ops.settings import LitestreamSettings, Settings, expand_databases, load

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yml")), ids=lambda file: file.name)
def test_an_example_loads_and_says_what_it_is_for(file: Path) -> None:
    settings = load(file)

    assert settings.replica is not None
    assert settings.databases
    expand_databases(settings)
    assert file.read_text().startswith("# ")


def test_the_full_example_has_every_key_and_the_defaults_it_claims() -> None:
    settings = load(CONFIGS / "full.yml")
    written = yaml.safe_load((CONFIGS / "full.yml").read_text())

    assert keys(_shown(settings)) == keys(written)
    bare = Settings(state_dir=CONFIGS / ".obelisk-ops")
    assert settings.litestream == LitestreamSettings()
    assert settings.stop_timeout_s == bare.stop_timeout_s
    assert settings.lease_ttl_s == bare.lease_ttl_s
    assert settings.drill == bare.drill
    assert settings.state_dir == bare.state_dir


def keys(value: Any, place: str = "") -> set[str]:
    if isinstance(value, dict):
        return {place}.union(*(keys(item, f"{place}.{key}") for key, item in value.items()))
    if isinstance(value, list):
        return set().union(*(keys(item, f"{place}[]") for item in value))
    return {place}
