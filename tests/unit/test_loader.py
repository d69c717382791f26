"""Finding code by what a person types."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.durable.flow.loader import load_module, load_served, load_workflow
from obelisk_ops.errors import FunctionNotFound

CODE = """
from obelisk_ops import activity, workflow

@activity
def act(): ...

@workflow
async def flow(): ...

@workflow(name="other")
async def named(): ...

class Inside:
    @workflow
    async def flow(): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with code in it, which is also the current one; nothing stays imported."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loaded_flows.py").write_text(CODE)
    package = tmp_path / "loaded_pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(CODE)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("loaded_flows.py:flow", "loaded_flows.flow"),
        ("./loaded_flows.py:flow", "loaded_flows.flow"),
        ("loaded_flows:flow", "loaded_flows.flow"),
        ("loaded_flows.py:named", "other"),
        ("loaded_flows.py:Inside.flow", "loaded_flows.Inside.flow"),
        ("loaded_pkg.inner:flow", "loaded_pkg.inner.flow"),
    ],
)
def test_a_target_names_a_workflow(target: str, name: str) -> None:
    assert load_workflow(target).name == name


def test_a_file_and_a_module_are_the_same_code() -> None:
    assert load_workflow("loaded_flows.py:flow") is load_workflow("loaded_flows:flow")
    assert load_module("loaded_flows.py") is load_module("loaded_flows")


def test_code_beside_a_file_can_be_imported_by_it(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "loaded_uses.py").write_text("from loaded_beside import flow\n")
    (folder / "sub" / "loaded_beside.py").write_text(CODE)

    assert load_workflow("sub/loaded_uses.py:flow").name == "loaded_beside.flow"


def test_a_worker_serves_a_module_or_one_function() -> None:
    assert load_served("loaded_flows.py:flow") is load_workflow("loaded_flows.py:flow")
    assert load_served("loaded_flows.py") is sys.modules["loaded_flows"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("flow", "'flow' names no function"),
        ("", "names no function"),
        ("nowhere.py:flow", "there is no file"),
        ("no.such.module:flow", "cannot be imported"),
        ("loaded_flows.py:act", "has no workflow 'act'"),
        ("loaded_flows.py:nobody", "has no workflow 'nobody'"),
        ("loaded_flows.py:", "has no workflow ''"),
        ("sub/json.py:flow", "another module is named 'json'"),
        ("loaded_wrong.py:flow", "SyntaxError"),
        ("loaded_raises.py:flow", "ZeroDivisionError"),
        ("loaded_exits.py:flow", "SystemExit"),
        ("loaded_needs.py:flow", "No module named 'not_installed'"),
    ],
)
def test_what_cannot_be_found_is_said(folder: Path, target: str, said: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "json.py").write_text(CODE)
    (folder / "loaded_wrong.py").write_text("def (")
    (folder / "loaded_raises.py").write_text("1 / 0")
    (folder / "loaded_exits.py").write_text("raise SystemExit(0)")
    (folder / "loaded_needs.py").write_text("import not_installed")

    with pytest.raises(FunctionNotFound, match=said) as caught:
        load_workflow(target)

    assert "loaded_raises" not in sys.modules
    assert caught.value.exit_status == 2


def test_the_hint_names_what_there_is() -> None:
    with pytest.raises(FunctionNotFound) as caught:
        load_workflow("loaded_flows.py:flo")

    assert caught.value.hint == "did you mean 'flow'? it has: flow, named"
