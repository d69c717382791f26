"""
Which test holds which behaviour: read off the tests, written to docs/reference/behaviours.md.

A test holds a behaviour by its name (``test_o07_…``) or by its marker
(``@pytest.mark.behaviour("O07")``); what each number means is said in one place.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
CATALOGUE = TESTS / "behaviours" / "catalogue.toml"

_NAMED = re.compile(r"test_([op]\d\d)_")
_SHOWN_MAX = 4


def catalogue() -> dict[str, dict[str, str]]:
    """Return number → ``text``, and ``later`` where something is not held yet."""
    return tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))


def holders() -> dict[str, list[str]]:
    """Return number → the tests that hold it, as ``path::name`` below tests/."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in _numbers(node):
                    found[number].append(f"{path.relative_to(TESTS)}::{node.name}")
    return dict(found)


def _numbers(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    named = _NAMED.match(test.name)
    if named:
        yield named.group(1).upper()
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
            "mark.behaviour"
        ):
            yield from (str(ast.literal_eval(argument)) for argument in decorator.args)


def page() -> str:
    """Return the page of all behaviours."""
    tests = holders()
    rows = [
        f"| {number} | {about['text']} | {_shown(tests.get(number, []))} | "
        f"{about.get('later', '')} |"
        for number, about in catalogue().items()
    ]
    return "\n".join(
        [_INTRO, "| | Behaviour | Held by | Not held |", "|---|---|---|---|", *rows]
    )


def _shown(tests: list[str]) -> str:
    links = [f"[`{_short(test)}`](../../tests/{test.partition('::')[0]})" for test in tests]
    more = [f"and {len(links) - _SHOWN_MAX} more"] if len(links) > _SHOWN_MAX else []
    return "<br>".join([*links[:_SHOWN_MAX], *more])


def _short(test: str) -> str:
    return test.partition("::")[2].removeprefix("test_")


_INTRO = """# Behaviours

What a durable engine must do, and the test that holds it. The list was made before the
engine: O numbers are what a reference engine does, or should do and does not; P numbers are
what its peers in Python are asked for. Each test says in its docstring what it does; all of
them run with `make test`. What is not held, or not wholly, says so in the last column.
"""
