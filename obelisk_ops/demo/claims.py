"""What the demo says, each sentence checked; and the table of it at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from obelisk_ops.errors import VerificationFailed


class Claims:
    """Prints as it goes. A claim that does not hold ends the demo."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: list[tuple[str, float]] = []
        self._held: list[tuple[str, str]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time a step of the story."""
        self._console.print(f"\n[bold]{len(self._steps) + 1}. {title}[/]")
        began = time.monotonic()
        yield
        self._steps.append((title, time.monotonic() - began))

    def say(self, text: str) -> None:
        """Print what a command shows, indented."""
        for line in text.rstrip().splitlines():
            self._console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True)

    def check(self, claim: str, holds: object, detail: str = "") -> None:
        """
        Assert a claim.

        Raises:
            VerificationFailed: It does not hold.
        """
        mark = "[green]✔[/]" if holds else "[red]✘[/]"
        because = f" [dim]({detail})[/]" if detail else ""
        self._console.print(f"   {mark} {claim}{because}", soft_wrap=True)
        if not holds:
            raise VerificationFailed(f"the demo's claim does not hold: {claim} ({detail})")
        self._held.append((claim, detail))

    def table(self) -> None:
        """Print what was proven, and how long each step took."""
        proven = Table(box=None, pad_edge=False, header_style="bold")
        proven.add_column("PROVEN")
        proven.add_column("BY", style="dim")
        for claim, detail in self._held:
            proven.add_row(f"[green]✔[/] {claim}", detail)
        took = Table(box=None, pad_edge=False, header_style="bold")
        took.add_column("STEP")
        took.add_column("SECONDS", justify="right")
        for title, seconds in self._steps:
            took.add_row(title, f"{seconds:.1f}")
        took.add_row("[bold]all[/]", f"[bold]{sum(s for _, s in self._steps):.1f}[/]")
        self._console.print()
        self._console.print(proven)
        self._console.print()
        self._console.print(took)
