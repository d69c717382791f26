"""A small project with workflows, in which tests of the pytest plugin run tests."""

from __future__ import annotations

from textwrap import dedent

import pytest

import obelisk_ops.storage.sqlite.store  # before the inner runs, which then share it
import obelisk_ops.testing.engine  # noqa: F401

#: by its module, not by its entry point: the installation may be older than the code
PLUGIN = (
    "-p", "no:obelisk_ops", "-p", "obelisk_ops.testing.plugin",
    "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist",
)  # fmt: skip

FLOWS = """
from datetime import timedelta
from obelisk_ops import Retry, activity, sleep, workflow

PATIENT = Retry(max_attempts=3, initial=timedelta(hours=1), jitter=0)

@activity(retry=PATIENT)
async def fetch(n: int) -> int:
    if activity.attempt() < 3:
        raise ConnectionError("away")
    return n

@activity
def charge(n: int) -> int:
    return 10 * n

careful = charge.options(retry=PATIENT)

@workflow
async def order(n: int) -> int:
    fetched = await fetch(n)
    await sleep(timedelta(days=1))
    return fetched + await charge(n) + await careful(n)
"""


def run_tests(project: pytest.Pytester, text: str, *args: str) -> pytest.RunResult:
    head = "import pytest\nfrom shop import *\nfrom obelisk_ops.testing import *\n"
    project.makepyfile(test_shop=head + dedent(text))
    return project.runpytest(*PLUGIN, *args)
