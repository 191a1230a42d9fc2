"""What the demonstration prints: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text


class Row(NamedTuple):
    """Figures of one second, of the workload that the story is about."""

    asked_per_min: float
    served_per_min: float
    refused_by_us_per_min: float
    throttled_per_min: float
    grant_per_min: float
    replicas: int
    desired_replicas: int
    connections: int
    tier: str


HEADINGS = ("time", "asked/min", "served/min", "our 429/min", "API 429/min", "grant/min", "replicas", "conn/proxy", "tier")


class Screen:
    """Steps as they happen, with the newest figures below them."""

    def __init__(self, *, is_live: bool | None = None) -> None:
        self._console = Console(highlight=False)
        self._is_live = self._console.is_terminal if is_live is None else is_live
        self._started_at = time.monotonic()
        self._rows: list[tuple[str, ...]] = []
        self._live: Live | None = None
        self._lines = 0

    def step(self, title: str) -> None:
        """A new chapter."""
        self._stop()
        self._console.print(f"\n[bold]{self._clock()}  {title}[/bold]", soft_wrap=True)
        self._rows = []

    def note(self, text: str) -> None:
        """A line within the chapter."""
        self._print(f"        {text}")

    def good(self, text: str) -> None:
        """Something that was promised was seen."""
        self._print(f"     [green]✔[/green]  {text}")

    def bad(self, text: str) -> None:
        """Something that was promised was not seen."""
        self._print(f"     [red]✘[/red]  {text}")

    def verbatim(self, text: str) -> None:
        """Output of a command, untouched."""
        self._stop()
        sys.stdout.write("\n" + "\n".join("        " + line for line in text.rstrip().splitlines()) + "\n")
        sys.stdout.flush()

    def row(self, row: Row) -> None:
        """The figures of this second."""
        cells = (
            self._clock(), f"{row.asked_per_min:.0f}", f"{row.served_per_min:.0f}", f"{row.refused_by_us_per_min:.0f}",
            f"{row.throttled_per_min:.0f}", f"{row.grant_per_min:.0f}",
            f"{row.replicas}" if row.replicas == row.desired_replicas else f"{row.replicas} → {row.desired_replicas}",
            f"{row.connections}", row.tier,
        )  # fmt: skip
        self._rows = [*self._rows[-11:], cells]
        if self._is_live:
            if self._live is None:
                self._live = Live(self._table(), console=self._console, refresh_per_second=4)
                self._live.start()
            self._live.update(self._table())
        else:
            self._plain(cells)

    def close(self) -> None:
        """Leaves the terminal as it was found."""
        self._stop()

    def _plain(self, cells: tuple[str, ...]) -> None:
        if self._lines % 5 == 0:  # one line in five seconds is enough for a log
            pairs = zip(HEADINGS[1:], cells[1:], strict=True)
            self._console.print(f"{cells[0]}  " + "  ".join(f"{name} {value}" for name, value in pairs), soft_wrap=True)
        self._lines += 1

    def _table(self) -> Group:
        table = Table(*HEADINGS, box=None, header_style="dim", padding=(0, 2, 0, 0))
        for cells in self._rows:
            table.add_row(*cells)
        return Group(Text(), table)

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, soft_wrap=True)
        else:
            self._console.print(text, soft_wrap=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started_at)
        return f"{seconds // 60:2d}:{seconds % 60:02d}"
