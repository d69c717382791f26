"""A digest changes when the code does, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from obelisk_ops import workflow
from obelisk_ops.durable.flow.digests import digest
from obelisk_ops.durable.flow.functions import Workflow

HEAD = "from obelisk_ops import activity, workflow\n"
FLOW = """
RATE = 3

def helper(x):
    return x + 1

async def flow(x, *, limit=5):
    total = 0
    for item in range(limit):
        total += helper(item) if item in {"a", "b", 3} else (lambda y: y * 2)(item)
    return total
"""

#: what is replaced in FLOW, and by what
CHANGES = {
    "a constant": ("total = 0", "total = 1"),
    "a name": ("range(limit)", "list(limit)"),
    "an operator": ("total +=", "total -="),
    "a default": ("limit=5", "limit=6"),
    "a parameter": ("flow(x,", "flow(z,"),
    "a nested function": ("y * 2", "y * 3"),
    "a constant in a set": ('"b", 3}', '"b", 4}'),
    "a branch": ("    return total", "    if total:\n        return total"),
    "a helper": ("return x + 1", "return x + 2"),
}
NO_CHANGES = {
    "a comment": ("total = 0", "total = 0  # from nothing"),
    "a line": ("total = 0", "\n\n    total = 0"),
    "a docstring": ("    total = 0", '    """Add up."""\n    total = 0'),
    "a helper's docstring": ("    return x + 1", '    "One more."\n    return x + 1'),
    "an annotation": ("flow(x,", "flow(x: int,"),
    "a value of the module": ("RATE = 3", "RATE = 4"),
    "quotes": ('"a"', "'a'"),
}


def code(text: str, name: str = "flow") -> Callable[..., Any]:
    module = ModuleType("shop")
    exec(compile(text, "shop.py", "exec"), vars(module))  # noqa: S102 - it is the test's own
    found: Callable[..., Any] = vars(module)[name]
    return found


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_code_is_seen(change: tuple[str, str]) -> None:
    assert change[0] in FLOW
    assert digest(code(FLOW.replace(*change))) != digest(code(FLOW))


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_is_no_code_does_not_count(change: tuple[str, str]) -> None:
    assert change[0] in FLOW
    assert digest(code(FLOW.replace(*change))) == digest(code(FLOW))


def test_a_helper_of_another_package_does_not_count() -> None:
    def made(body: str) -> str:
        function = code(FLOW)
        helper = code(f"def helper(x):\n    return {body}", "helper")
        helper.__module__ = "numpy.core"
        function.__globals__["helper"] = helper
        return digest(function)

    assert made("x + 1") == made("x + 2")


def test_helpers_that_call_each_other_have_an_end() -> None:
    text = "def a(): return b()\ndef b(): return a()\nasync def flow(): return a()"

    assert len(digest(code(text))) == 16


def test_a_whole_program_behind_a_workflow_has_an_end_too() -> None:
    chain = "\n".join(f"def f{n}(x): return f{n + 1}(x)" for n in range(900))
    text = f"{chain}\ndef f900(x): return {{}}\nasync def flow(): return f0(1)"

    assert digest(code(text.format("x"))) == digest(code(text.format("-x")))


def test_a_helper_is_found_in_its_module_too() -> None:
    def made(body: str) -> str:
        helpers = ModuleType("shop.helpers")
        exec(f"def add(x): return {body}", vars(helpers))  # noqa: S102
        function = code("async def flow(x):\n    return helpers.add(x)")
        function.__globals__["helpers"] = helpers
        return digest(function)

    assert made("x + 1") != made("x + 2")


def test_what_a_closure_holds_counts() -> None:
    text = (
        "def outer():\n    def helper(x): return {}\n    async def flow(): return helper(1)\n"
    )
    text += "    return flow\nflow = outer()"

    assert digest(code(text.format("x"))) != digest(code(text.format("-x")))


@workflow
async def flow() -> set[str]:
    return {"a", "b", "c", "d"} if "x" in {"x", "y", "z"} else set()


def test_a_workflow_knows_its_digest() -> None:
    assert isinstance(flow, Workflow)
    assert flow.digest == digest(flow.function)
    assert flow.digest is flow.digest, "it is taken once"


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Whatever the seed of hashes, which orders sets, and whether the code has run before."""
    script = tmp_path / "shop.py"
    script.write_text(f"{HEAD}{FLOW}\nfrom obelisk_ops.durable.flow.digests import digest\n"
                      "print(digest(flow))\n")  # fmt: skip
    seen = {
        subprocess.run(
            [sys.executable, script], check=True, capture_output=True, text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip

    assert len(seen) == 1


def test_running_the_code_does_not_change_it() -> None:
    function = code(FLOW)
    before = digest(function)
    for _ in range(100):  # until the interpreter has specialised it
        with pytest.raises(StopIteration):
            function(1).send(None)

    assert digest(function) == before
