"""
Which test holds what: read off the tests, written to two pages of docs/reference.

`behaviours.md` is what a durable engine must do; a test holds one by its name
(``test_o07_…``) or its marker (``@pytest.mark.behaviour("O07")``). `faults.md` is what can
go wrong around it; a test holds a row by ``@pytest.mark.fault(7)``. What each number means is
said in one place, a catalogue.toml.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"

_SHOWN_MAX = 4
_TEST = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """
    A numbered list, and how tests say that they hold an entry of it.

    Attributes:
        file: Number → what it says, and ``later`` where something is not held yet.
        marker: The pytest marker that names numbers.
        named: Names of tests that hold a number without a marker.
        intro: What stands above the table.
        columns: The keys of the file that are shown, and their headings.
    """

    file: Path
    marker: str
    named: re.Pattern[str] | None
    intro: str
    columns: dict[str, str]

    def entries(self) -> dict[str, dict[str, str]]:
        """Return number → ``text`` and so on, in the order of the file."""
        return tomllib.loads(self.file.read_text(encoding="utf-8"))

    def holders(self, *, only_default: bool = False) -> dict[str, list[str]]:
        """
        Return number → the tests that hold it, as ``path::name`` below tests/.

        Args:
            only_default: Leave out what `make test` does not run.
        """
        found: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(TESTS.rglob("test_*.py")):
            text = path.read_text(encoding="utf-8")
            for test in _tests(text) if self._may_hold(text) else ():
                if not (only_default and "chaos" in _markers(test)):
                    for number in self._numbers(test):
                        found[number].append(f"{path.relative_to(TESTS)}::{test.name}")
        return dict(found)

    def page(self) -> str:
        """Return the page."""
        tests = self.holders()
        headings = [*self.columns.values(), "Held by", "Not held"]
        rows = [
            [
                number,
                *(about[key] for key in self.columns),
                _shown(tests.get(number, [])),
                about.get("later", ""),
            ]
            for number, about in self.entries().items()
        ]
        head = [f"| | {' | '.join(headings)} |", f"|---{'|---' * len(headings)}|"]
        return "\n".join([self.intro, *head, *(f"| {' | '.join(row)} |" for row in rows)])

    def _may_hold(self, text: str) -> bool:
        """Tell whether a file is worth the time that it takes to read it as Python."""
        return f"mark.{self.marker}" in text or (
            self.named is not None and self.named.search(text) is not None
        )

    def _numbers(self, test: _TEST) -> Iterator[str]:
        by_name = self.named.match(test.name) if self.named else None
        if by_name:
            yield by_name.group(1).upper()
        for number in _markers(test).get(self.marker, ()):
            yield str(number)


def _tests(text: str) -> Iterator[_TEST]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _TEST) and node.name.startswith("test_"):
            yield node


def _markers(test: _TEST) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for decorator in test.decorator_list:
        named = decorator.func if isinstance(decorator, ast.Call) else decorator
        marker = ast.unparse(named).rpartition("mark.")[2]
        given = decorator.args if isinstance(decorator, ast.Call) else []
        values = [one.value for one in given if isinstance(one, ast.Constant)]
        found.setdefault(marker, []).extend(values)
    return found


def _shown(tests: list[str]) -> str:
    links = [f"[`{_short(test)}`](../../tests/{test.partition('::')[0]})" for test in tests]
    more = [f"and {len(links) - _SHOWN_MAX} more"] if len(links) > _SHOWN_MAX else []
    return "<br>".join([*links[:_SHOWN_MAX], *more])


def _short(test: str) -> str:
    return test.partition("::")[2].removeprefix("test_")


BEHAVIOURS = Catalogue(
    file=TESTS / "behaviours" / "catalogue.toml",
    marker="behaviour",
    named=re.compile(r"test_([op]\d\d)_"),
    columns={"text": "Behaviour"},
    intro="""# Behaviours

What a durable engine must do, and the test that holds it. The list was made before the
engine: O numbers are what a reference engine does, or should do and does not; P numbers are
what its peers in Python are asked for. Each test says in its docstring what it does; all of
them run with `make test`. What is not held, or not wholly, says so in the last column.
""",
)

FAULTS = Catalogue(
    file=TESTS / "fault" / "catalogue.toml",
    marker="fault",
    named=None,
    columns={"fault": "Fault", "must": "What must happen"},
    intro="""# Faults

What can go wrong around a backup, what must happen then, and the test that does it: with the
real Litestream, a real S3 server and real kills, through a proxy that breaks the line. The
numbers are those of `@pytest.mark.fault(N)`.

The table is read off the tests, and each whole run of them is held against it: `make test`
says at its end how many rows the tests that passed hold, and fails if a row that stands here
as held was not. What is not held yet says so in the last column.
""",
)
