"""What the page about services shows of the files is in the files."""

from __future__ import annotations

import re

import pytest

from obelisk_ops.settings import Settings
from tests.documents import ROOT, Block, blocks

PAGE = ROOT / "docs" / "how-to" / "run-as-a-service.md"
SHOWN = [block for block in blocks(PAGE) if block.language == "text"]


def test_each_of_the_three_is_shown() -> None:
    assert [block.text.split("\n")[0] for block in SHOWN] == [
        "# litestream/obelisk-ops-supervise.service",
        "# docker/compose.yaml",
        "# docker/kubernetes.yaml",
    ]


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_what_is_shown_stands_in_the_file_in_this_order(block: Block) -> None:
    first, *lines = block.text.rstrip().split("\n")
    rest = iter((ROOT / first.removeprefix("# ")).read_text().splitlines())

    assert [line for line in lines if line not in rest] == []


def test_the_times_it_names_are_those_in_force() -> None:
    text, bare = PAGE.read_text(), Settings(state_dir=ROOT)

    (named,) = re.findall(r"than `stop_timeout` \((\d+) s\)", text)
    assert float(named) == bare.stop_timeout_s


def test_the_commands_of_the_files_are_those_of_the_page() -> None:
    """Each file begins with how it is used; the page says the same."""
    on_page = plain("\n".join(b.text for b in blocks(PAGE) if b.language == "sh"))

    for file in ("docker/compose.yaml", "docker/kubernetes.yaml"):
        head = (ROOT / file).read_text().split("\n\n")[0].replace("\\\n#", "")
        typed = re.findall(
            r"^#   ((?:docker compose|kubectl) .*?)(?: +#.*)?$", head, re.MULTILINE
        )
        assert len(typed) > 2
        assert [x for x in typed if "submit" not in x and plain(x) not in on_page] == []


def plain(text: str) -> str:
    return re.sub(r" +", " ", text)
