"""The live table on a terminal: every workload, every limit in use, and what happened last."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from claudeops.exchange import DIMENSIONS
from claudeops.fleet.views import GroupRates, GroupView, QuotaView
from claudeops.standalone.local_fleet import Site
from claudeops.standalone.output import conditions, is_news, urls

WORKLOADS: Final = ("WORKLOAD", "BASE URL", "READY", "MODEL", "REQ/MIN", "GRANT/MIN", "RUNNING", "QUEUED", "429/MIN", "P95", "")
LIMITS: Final = ("QUOTA", "GROUP", "REQUESTS/MIN", "INPUT TOKENS/MIN", "OUTPUT TOKENS/MIN")
NARROW: Final = ("WORKLOAD", "READY", "MODEL", "REQ\n/MIN", "GRANT\n/MIN", "RUNNING", "QUEUED", "429\n/MIN", "P95")
WIDE_COLUMNS: Final = 120
"""On a terminal that is not as wide, addresses and notes are lines of their own: cut in half they would be of no use."""
_STYLES: Final = {"warning": "yellow", "invalid": "red", "reloaded": "green"}


class TableOutput:
    """Events scroll above; the tables stay below them."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, auto_refresh=False)
        self._live.start()

    def tell(self, event: str, text: str) -> None:
        """One line above the tables, which on a wide terminal say themselves where a proxy listens."""
        if event == "listening" and self._is_wide:
            return
        self._live.console.print(Text(f"{time.strftime('%H:%M:%S')}  {text}", style=_STYLES.get(event, "")), soft_wrap=True)

    def show(self, sites: Sequence[Site], quotas: Mapping[str, QuotaView]) -> None:
        """Draws both tables anew."""
        hint = Text("Ctrl-C ends it", style="dim")
        workloads = workload_table(sites) if self._is_wide else narrow_table(sites)
        self._live.update(Group(Text(), workloads, Text(), limit_table(quotas), hint), refresh=True)

    def close(self) -> None:
        """The last tables stay on the screen."""
        self._live.stop()

    @property
    def _is_wide(self) -> bool:
        return self._console.width >= WIDE_COLUMNS


def workload_table(sites: Sequence[Site]) -> Table:
    """One row for each workload."""
    table = Table(*WORKLOADS, box=None, header_style="dim", padding=(0, 2, 0, 0))
    for site in sites:
        table.add_row(site.name, "\n".join(urls(site)) or "starting", *_figures(site), _notes(site))
    return table


def narrow_table(sites: Sequence[Site]) -> Group:
    """The same for a terminal of 80 columns: where a workload listens is said once, above; what is wrong with it stands below."""
    table = Table(*NARROW, box=None, header_style="dim", padding=(0, 1, 0, 0))
    for column in (table.columns[0], *table.columns[3:]):
        column.no_wrap = True
    for site in sites:
        table.add_row(site.name, *_figures(site))
    return Group(table, *(Text(f"{site.name}: {notes}") for site in sites if (notes := _notes(site))))


def _figures(site: Site) -> tuple[str | Text, ...]:
    seen = site.view.observed
    return (
        _ready(site),
        site.view.active_model,
        f"{seen.requests_per_minute:.0f}",
        _requests(site.view.grant),
        str(seen.in_flight),
        str(seen.queued),
        f"{seen.throttled_per_minute:.0f}",
        "" if seen.latency_p95_s is None else f"{seen.latency_p95_s:.1f} s",
    )


def limit_table(quotas: Mapping[str, QuotaView]) -> Table:
    """One row for each model group in use: what is used of what there is, and how full the API says its bucket is."""
    table = Table(*LIMITS, box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name, quota in quotas.items():
        for group in dict.fromkeys(view.group for view in quota.groups):
            cells = {view.dimension: _used(view) for view in quota.groups if view.group == group}
            table.add_row(name, group, *(cells.get(dimension, "") for dimension in DIMENSIONS))
    return table


def _used(view: GroupView) -> str:
    level = "" if view.level is None else f", {100 * view.level:.0f} % left"
    return f"{view.used:.0f} of {view.capacity:.0f}{level}"


def _ready(site: Site) -> Text:
    ready = next((condition for condition in conditions(site) if condition["type"] == "Ready"), None)
    if ready is None:
        return Text("")
    is_ready = ready["status"] == "True"
    return Text("yes" if is_ready else ready["reason"], style="green" if is_ready else "red")


def _requests(grant: GroupRates | None) -> str:
    return "" if grant is None or grant.requests_per_minute is None else f"{grant.requests_per_minute:.0f}"


def _notes(site: Site) -> str:
    """What is not as it should be, in the conditions' own words."""
    found = [condition for condition in conditions(site) if condition["type"] != "Ready" and is_news(condition)]
    return ", ".join(f"{condition['type']}={condition['status']} ({condition['reason']})" for condition in found)
