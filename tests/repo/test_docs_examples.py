"""What documents show works: code runs, configurations load, commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from obelisk_ops.cli import main
from obelisk_ops.settings import load
from tests.documents import PAGES, ROOT, Block, blocks, matches

ALL = [block for page in PAGES for block in blocks(page)]
LANGUAGES = {"python", "yaml", "sh", "console", "text"}
STOPS = {"|", "&", "&&", ";", ">", "||", "--"}
PROSE = {"and", "is", "has", "in", "on"}


def of(*languages: str) -> pytest.MarkDecorator:
    chosen = [block for block in ALL if block.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=str)


def test_every_block_says_what_it_is() -> None:
    """So that the tests know what to do with it; `text` is for what nobody can run."""
    strange = [str(block) for block in ALL if block.language not in LANGUAGES]

    assert [place for place in strange if "ARCHITECTURE.md" not in place] == []


@of("python")
def test_code_runs(block: Block, tmp_path: Path) -> None:
    script = tmp_path / (block.file or "example.py")
    script.write_text(block.text)

    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


@of("yaml")
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "obelisk-ops.yml"
    file.write_text(block.text)

    assert load(file).replica


def in_documents() -> Iterator[tuple[str, str]]:
    for block in (block for block in ALL if block.language in {"sh", "console"}):
        for line in block.text.splitlines():
            for found in re.finditer(r"(?:^|[\s(])obelisk-ops (.*)", line.split(" # ")[0]):
                yield str(block), found.group(1)
    for page in PAGES:
        for found in re.finditer(r"`obelisk-ops ([^`]+)`", page.read_text()):
            yield str(page.relative_to(ROOT)), found.group(1)


def in_code() -> Iterator[tuple[str, str]]:
    """Hints of errors name commands, too."""
    for path in (ROOT / "obelisk_ops").rglob("*.py"):
        for found in re.finditer(r"['\" ]obelisk-ops ([a-z0-9]+[^'\"`]*)", path.read_text()):
            yield str(path.relative_to(ROOT)), found.group(1)


def unknown_part(words: list[str]) -> str | None:
    """Return what of a command line does not exist; None if all of it does."""
    command: click.Command = main
    ctx = click.Context(main)
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z0-9]+", words[0]):
        found = command.get_command(ctx, words[0])
        if found is None:
            return words[0]
        command, words = found, words[1:]
    known = {name for c in (main, command) for p in c.get_params(ctx) for name in p.opts}
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return next((option for option in given if option not in known), None)


def words_of(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError:  # cut in the middle of a quoted text
        words = line.split()
    end = next((i for i, word in enumerate(words) if word in STOPS), len(words))
    return words[:end]


def test_commands_that_are_named_exist() -> None:
    found = [*in_documents(), *in_code()]
    assert len(found) > 30

    unknown = {
        f"{place}: obelisk-ops {line}"
        for place, line in found
        if line.split()[0] not in PROSE and unknown_part(words_of(line)) is not None
    }

    assert unknown == set()


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("status --json", None),
        ("execution list --db x.db", None),
        ("replica points NAME", None),
        ("-c FILE status", None),
        ("exec --strict -- program --option", None),
        ("exec --stricht -- program", "--stricht"),
        ("resotre NAME", "resotre"),
        ("execution lst", "lst"),
        ("status --yaml", "--yaml"),
    ],
)
def test_a_command_that_does_not_exist_is_seen(line: str, unknown: str | None) -> None:
    assert unknown_part(words_of(line)) == unknown


@pytest.mark.parametrize(
    ("shown", "printed", "is_match"),
    [
        ("a  b\nc", "a     b   \nc\n", True),
        ("id … done", "id 17 done", True),
        ("…\nlast", "first\nsecond\nlast", True),
        ("a", "a\nb", False),
        ("", "something", False),
    ],
)
def test_what_a_page_shows_is_compared(shown: str, printed: str, *, is_match: bool) -> None:
    assert matches(shown, printed) is is_match


def test_every_page_is_reachable_from_the_readme() -> None:
    """A page that nothing links to is not read."""
    todo, seen = [ROOT / "README.md"], set[Path]()
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        targets = [(page.parent / link).resolve() for link in links]
        todo += [target for target in targets if target.is_file()]

    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen] == []
