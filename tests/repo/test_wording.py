"""What the project says of itself is true on every machine, and finished."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARKDOWN_COLUMNS_MAX = 100

#: what it is -> how it looks. Put together from parts, so that this file passes its own rule.
FORBIDDEN = {
    "a folder of one machine": r"(?<![\w.~-])/(?:root|work|home/\w+|Users/\w+)/",
    "a package index": r"(?:pypi|pythonhosted|files\.python)" + r"\.org|index-" + r"url",
    "unfinished work": r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b",
    "a missing text": r"(?i)lorem " + r"ipsum|coming " + r"soon",
}


def tracked() -> list[Path]:
    """Return what git keeps, or would keep."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def texts() -> list[tuple[str, str]]:
    """Return name and content of every text file."""
    found = []
    for path in tracked():
        try:
            found.append((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])

    found = [
        f"{name}:{text[: hit.start()].count(chr(10)) + 1}: {hit.group()!r}"
        for name, text in texts()
        if name != "LICENSE"
        for hit in pattern.finditer(text)
    ]

    assert found == [], f"{what} has no place in the project"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a folder of one machine", "see /home/" + "ann/runs"),
        ("a folder of one machine", "cd /ro" + "ot/x"),
        ("a package index", "https://py" + "pi.org/simple"),
        ("unfinished work", "# TO" + "DO: later"),
    ],
)
def test_the_rules_see_what_they_are_for(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)


def test_documents_are_wrapped() -> None:
    """Tables and code keep their lines."""
    long = []
    for name, text in texts():
        if not name.endswith(".md"):
            continue
        for number, line in enumerate(_prose(text), start=1):
            if len(line) > MARKDOWN_COLUMNS_MAX:
                long.append(f"{name}:{number}")

    assert long == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{name}: {target}"
        for name, text in texts()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", "\n".join(_prose(text)))
        if "://" not in target and not ((ROOT / name).parent / target).exists()
    ]

    assert broken == []


def _prose(text: str) -> list[str]:
    """Return the lines of a document, those of tables and code emptied."""
    lines, is_code = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            is_code = not is_code
        lines.append("" if is_code or line.lstrip().startswith("|") else line)
    return lines
