"""The code and its reference cannot drift apart."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import obelisk_ops
from obelisk_ops.cli import main
from obelisk_ops.core import events
from obelisk_ops.errors import ConfigError, OpsError
from obelisk_ops.settings import load

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
GENERATOR = runpy.run_path(str(ROOT / "scripts" / "gen_reference.py"))
PAGES: dict[Path, str] = GENERATOR["pages"]()
COMMANDS: list[tuple[str, click.Command]] = list(GENERATOR["commands"](main, "obelisk-ops"))
ERRORS: list[type[OpsError]] = GENERATOR["error_classes"]()

every_command = pytest.mark.parametrize(
    ("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS]
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_generated_pages_are_current(path: Path) -> None:
    assert path.read_text() == PAGES[path], "run 'make fmt'"


@every_command
def test_every_command_has_help_and_a_section(path: str, command: click.Command) -> None:
    assert command.help, f"{path} has no help"
    assert f"\n## {path}\n" in (REFERENCE / "cli.md").read_text()


@every_command
def test_every_option_says_what_it_is_for(path: str, command: click.Command) -> None:
    silent = [
        param.opts[-1]
        for param in command.params
        if isinstance(param, click.Option) and not param.help and not param.hidden
    ]

    assert silent == [], f"{path}: give these a help text"


def test_commands_that_print_shapes_are_described() -> None:
    """What takes --json has a section that shows its fields, or says it prints a value."""
    described = (REFERENCE / "json.md").read_text()

    missing = [
        path
        for path, command in COMMANDS
        if any("--json" in param.opts for param in command.params)
        and f"## {path.removeprefix('obelisk-ops ')}\n" not in described
        and path.split()[-1] not in {"run", "result", "supervise", "show", "demo"}
    ]
    assert missing == []


def test_error_codes_are_unique() -> None:
    codes = [kind.code for kind in ERRORS]

    assert len(codes) == len(set(codes))


def test_the_tree_of_errors_is_the_tree_that_is_drawn() -> None:
    drawing = (ROOT / "obelisk_ops" / "errors.py").read_text().split('"""')[1]
    drawn = re.findall(r"(\w+)\s+([a-z0-9_]+)\s+(\d+)(?:\s|$)", drawing)

    assert drawn == [(kind.__name__, kind.code, str(kind.exit_status)) for kind in ERRORS]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_every_error_stands_in_the_reference(kind: type[OpsError]) -> None:
    row = f"| `{kind.code}` | {kind.exit_status} | `{kind.__name__}` |"

    assert row in (REFERENCE / "errors.md").read_text()


@pytest.mark.parametrize("kind", events.BODIES)
def test_every_kind_of_event_stands_in_the_reference(kind: str) -> None:
    assert f"\n## {kind}\n" in (REFERENCE / "events.md").read_text()


@pytest.mark.parametrize("name", obelisk_ops.__all__)
def test_every_public_name_stands_in_the_reference(name: str) -> None:
    assert re.search(rf"`[^`]*\b{name}\b", (REFERENCE / "python.md").read_text())


@pytest.mark.parametrize(
    "public",
    [obelisk_ops.Engine, obelisk_ops.Retry, obelisk_ops.activity, obelisk_ops.workflow],
    ids=["Engine", "Retry", "activity", "workflow"],
)
def test_every_parameter_stands_in_the_reference(public: Callable[..., object]) -> None:
    page = (REFERENCE / "python.md").read_text()

    missing = [
        name
        for name in inspect.signature(public).parameters
        if name != "function" and not re.search(rf"`[^`]*\b{name}\b", page)
    ]
    assert missing == []


# -- configuration: the keys are asked of the reader itself ------------------------------


def known_keys(folder: Path) -> Iterator[str]:
    """Yield every key that the configuration may have, by giving it one it may not have."""
    todo = [""]
    while todo:
        place = todo.pop()
        for key in keys_below(folder, place):
            found = f"{place}.{key}".removeprefix(".")
            yield found
            todo.append(f"{found}[]" if found == "databases" else found)


def keys_below(folder: Path, place: str) -> list[str]:
    """Return the keys that are known at *place*; none if no mapping belongs there."""
    text = '{"n0ne": 0}'
    for part in reversed(place.split(".") if place else []):
        name = part.removesuffix("[]")
        text = f'{{"{name}": [{text}]}}' if part.endswith("[]") else f'{{"{name}": {text}}}'
    file = folder / "probe.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    known = re.match(r"known(?: here)?: (.+)", caught.value.hint)
    return known.group(1).split(", ") if known and "n0ne" in caught.value.message else []


def test_every_configuration_key_stands_in_the_reference(tmp_path: Path) -> None:
    keys = set(known_keys(tmp_path))
    assert {"replica.url", "databases[].path", "litestream.snapshot.retention"} <= keys

    page = (REFERENCE / "configuration.md").read_text().split("\n## ")[1]
    documented = set(re.findall(r"^\| `([a-z0-9_.\[\]]+)` \|", page, re.MULTILINE))

    assert documented == keys


def test_every_variable_stands_in_the_reference() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    code = "\n".join(path.read_text() for path in (ROOT / "obelisk_ops").rglob("*.py"))

    read = set(re.findall(r'variable\("([A-Z_0-9]+)"\)', code))
    assert "OBELISK_OPS_CONFIG" in read
    assert {name for name in read if f"`{name}`" not in page} == set()
