"""Tab: the script for each shell, and what it asks the program."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.supervised import PROGRAM


def call(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | variables
    command = [str(PROGRAM), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_the_program(shell: str) -> None:
    done = call("completion", shell)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"_OBELISK_OPS_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("obelisk-ops exe", {"execution", "exec"}), ("obelisk-ops exec --st", {"--strict"})],
)
def test_what_is_offered(typed: str, offered: set[str]) -> None:
    count = str(len(typed.split()) - 1)
    asked = {"_OBELISK_OPS_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": count}

    done = call(**asked)

    assert {line.partition(",")[2] for line in done.stdout.split()} == offered
