"""
The smallest workflow: two activities and a pause.

    obelisk-ops run examples/hello.py:hello '"world"' --db runs/hello.db --id hello-1

Stop it with Ctrl-C while it sleeps, run the same command again: it goes on.
"""

from __future__ import annotations

from datetime import timedelta

from obelisk_ops import activity, run, sleep, workflow


@activity
def greet(name: str) -> str:
    """Return a greeting."""
    print(f"greeting {name}")
    return f"Hello, {name}!"


@activity
async def shout(text: str) -> str:
    """Return a louder text."""
    print("shouting")
    return text.upper()


@workflow
async def hello(name: str, pause_seconds: float = 1.0) -> str:
    """Greet, wait, shout."""
    greeting = await greet(name)
    await sleep(timedelta(seconds=pause_seconds))
    return await shout(greeting)


if __name__ == "__main__":
    print(run(hello, "world", db="hello.db", id="hello-1"))
