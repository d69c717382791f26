"""Every command that a message tells people to type exists, with the options it is given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from obelisk_ops.cli import main

PACKAGE = Path(__file__).parents[2] / "obelisk_ops"
#: up to the end of a quotation, of a sentence, or of what stands in brackets
_COMMAND = re.compile(r"(?<!by )obelisk-ops ((?:-c \S+ )?[a-z][^'\"`;,()|\n]*)")
_PLACEHOLDER = "X"


def told() -> Iterator[tuple[str, str]]:
    """Yield each command in a text that is shown to people, and where it stands."""
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text()
        if "obelisk-ops " not in text:
            continue  # to read them all as Python takes seconds, in every process that collects
        tree = ast.parse(text)
        quiet = {id(inner) for node in ast.walk(tree) for inner in _not_shown(node)}
        for node in ast.walk(tree):
            if id(node) not in quiet and isinstance(node, ast.JoinedStr | ast.Constant):
                for found in _COMMAND.finditer(_text(node)):
                    yield f"{file.relative_to(PACKAGE)}:{node.lineno}", found[1].strip(" .:?")


def _not_shown(node: ast.AST) -> Iterator[ast.AST]:
    """Yield docstrings, and the parts of texts that are looked at as a whole."""
    if isinstance(node, ast.JoinedStr):
        yield from (inner for inner in ast.walk(node) if inner is not node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node.value


def _text(node: ast.JoinedStr | ast.Constant) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = (v.value if isinstance(v, ast.Constant) else _PLACEHOLDER for v in node.values)
    return "".join(map(str, parts))


def wrong_with(words: list[str]) -> str:
    """Say what is wrong with a command; nothing, if it can be typed."""
    ctx = click.Context(main)
    command: click.Command = main
    while isinstance(command, click.Group):
        found = command.get_command(ctx, words[0]) if words else None
        if found is None:
            return f"no such command: {' '.join(words[:1]) or 'one is missing'}"
        command, words = found, words[1:]
    known = {name: param for param in command.params for name in (*param.opts, "--help")}
    given = [word for word in words if word.startswith("-")]
    for option in given:
        if option not in known:
            return f"no such option: {option}"
    for param in command.params:
        if isinstance(param, click.Option) and param.required and not {*param.opts} & {*given}:
            return "" if "--help" in given else f"{param.opts[0]} is missing"
    taken = sum(not getattr(known[option], "is_flag", True) for option in given)
    places = sum(isinstance(p, click.Argument) and p.required for p in command.params)
    return "" if len(words) - len(given) - taken >= places else "an argument is missing"


@pytest.mark.parametrize(("where", "command"), [*told()], ids=lambda value: value)
def test_what_a_hint_says_can_be_typed(where: str, command: str) -> None:
    wrong = wrong_with(command.split())

    assert not wrong, f"{where}: 'obelisk-ops {command}': {wrong}"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("execution lst --db X", "no such command: lst"),
        ("execution", "no such command: one is missing"),
        ("execution list", "--db is missing"),
        ("execution list --db X --stat", "no such option: --stat"),
        ("execution why --db X", "an argument is missing"),
        ("execution why X --db X", ""),
        ("search --help", ""),
    ],
)
def test_the_test(command: str, wrong: str) -> None:
    assert wrong_with(command.split()) == wrong
