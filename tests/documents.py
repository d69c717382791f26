"""Reading the examples of documents, so that tests can run them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w.-]+\.\w+)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, and where it stands."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the reader is told to save it as, by its first line."""
        found = _FILE.match(self.text)
        return found.group(1) if found else None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A command of a ``console`` block, and what the page says it prints."""

    command: str
    shown: str

    @property
    def is_background(self) -> bool:
        """Whether it goes on while the next ones are typed."""
        return self.command.endswith("&")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text[: found.start()].count("\n") + 1
        yield Block(page=page, line=line, language=found.group(1), text=found.group(2))


def typed(block: Block) -> Iterator[Typed]:
    """Yield the commands of a ``console`` block with their output."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield Typed(command=command.strip(), shown=shown)


def matches(shown: str, printed: str) -> bool:
    """Compare what a page shows with what was printed: ``…`` stands for anything."""
    wanted, got = ([" ".join(line.split()) for line in text.strip().splitlines()]
                   for text in (shown, printed))  # fmt: skip
    # Columns are as wide as what is in them, so only the words of a line count.
    pattern = re.escape("\n".join(wanted)).replace("…", ".*?")
    return re.fullmatch(pattern, "\n".join(got), re.DOTALL) is not None
