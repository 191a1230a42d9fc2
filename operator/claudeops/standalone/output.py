"""What `claudeops run` prints: lines, or JSON documents, one a line. The table for a terminal is in :mod:`.table`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TextIO

from claudeops.fleet.views import QuotaView
from claudeops.standalone.local_fleet import Site
from claudeops.translate.environment import PLACEHOLDER_KEY

FIGURES_S: Final = 10.0
"""How often plain lines repeat the figures of a workload, if they changed."""
_WRONG: Final = ("warning", "invalid")
_QUIET: Final = frozenset({"Reconciling", "Stalled", "InjectionMissing", "CappedByQuota"})
"""Conditions that say nothing here, or repeat another one."""


class Output(Protocol):
    """Where everything goes that a person or a program should see."""

    def tell(self, event: str, text: str) -> None:
        """Something happened: ``note``, ``warning``, ``listening``, ``invalid``, ``reloaded`` or ``stopping``."""

    def show(self, sites: Sequence[Site], quotas: Mapping[str, QuotaView]) -> None:
        """How everything is now; called about once a second."""

    def close(self) -> None:
        """Leaves the terminal as it was found."""


class JsonOutput:
    """Events, and each workload's status whenever it changed."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._shown: dict[str, str] = {}

    def tell(self, event: str, text: str) -> None:
        """One document."""
        self._write({"event": event, "message": text})

    def show(self, sites: Sequence[Site], quotas: Mapping[str, QuotaView]) -> None:
        """One document for each workload that changed."""
        for site in sites:
            document = {"event": "status", "workload": site.name, "urls": urls(site), "metrics": _metrics(site), "status": site.status}
            text = json.dumps(document, sort_keys=True)
            if self._shown.get(site.name) != text:
                self._shown[site.name] = text
                self._write(document)

    def close(self) -> None:
        """Nothing to do."""

    def _write(self, document: dict[str, Any]) -> None:
        self._stream.write(json.dumps(document) + "\n")
        self._stream.flush()


class LineOutput:
    """Lines for a log: what happens, conditions as they change, figures now and then. ``is_quiet``: only what is wrong."""

    def __init__(self, stream: TextIO | None = None, *, is_quiet: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._is_quiet = is_quiet
        self._conditions: dict[str, dict[str, tuple[str, str]]] = {}
        self._figures: dict[str, tuple[float, str]] = {}
        self._is_announced: set[str] = set()

    def tell(self, event: str, text: str) -> None:
        """One line. Where a proxy listens is said with its metrics, once."""
        if event == "listening" or (self._is_quiet and event not in _WRONG):
            return
        mark = {"warning": "!  ", "invalid": "✘  "}.get(event, "")
        self._stream.write(f"{time.strftime('%H:%M:%S')}  {mark}{text}\n")
        self._stream.flush()

    def show(self, sites: Sequence[Site], quotas: Mapping[str, QuotaView]) -> None:
        """Only what changed."""
        for site in sites:
            self._announce(site)
            self._show_conditions(site)
            self._show_figures(site)

    def close(self) -> None:
        """Nothing to do."""

    def _announce(self, site: Site) -> None:
        if site.name in self._is_announced or not all(proxy.is_listening for proxy in site.proxies):
            return
        self._is_announced.add(site.name)
        for proxy in site.proxies:
            self.tell("note", f"{site.name}: export ANTHROPIC_BASE_URL={proxy.url} ANTHROPIC_API_KEY={PLACEHOLDER_KEY}")
            self.tell("note", f"{site.name}: metrics at {proxy.metrics_url}")

    def _show_conditions(self, site: Site) -> None:
        before = self._conditions.setdefault(site.name, {})
        for condition in conditions(site):
            kind, seen = condition["type"], (condition["status"], condition["reason"])
            if before.get(kind) != seen and (kind in before or is_news(condition)):
                self.tell("note", f"{site.name}: {kind} is {condition['status']} ({condition['reason']}): {condition['message']}")
            before[kind] = seen

    def _show_figures(self, site: Site) -> None:
        text, now = figures(site), time.monotonic()
        shown_s, shown = self._figures.get(site.name, (now, ""))
        if text != shown and (now - shown_s >= FIGURES_S or not shown):
            self._figures[site.name] = (now, text)
            if shown or site.view.observed.requests_per_minute:
                self.tell("note", f"{site.name}: {text}")


def conditions(site: Site) -> list[dict[str, str]]:
    """Those that mean something without a cluster."""
    return [condition for condition in site.status.get("conditions", ()) if condition["type"] not in _QUIET]


def is_news(condition: Mapping[str, str]) -> bool:
    """Whether a condition's first value is worth a word."""
    return condition["type"] == "Ready" or condition["status"] == ("True" if condition["type"] in _BAD else "False")


_BAD: Final = frozenset({"Throttled", "FallbackActive", "TelemetryStale"})


def urls(site: Site) -> list[str]:
    """Where its proxies are; only those that listen."""
    return [proxy.url for proxy in site.proxies if proxy.is_listening]


def figures(site: Site) -> str:
    """One line of numbers."""
    seen, grant = site.view.observed, site.view.grant
    granted = "" if grant is None or grant.requests_per_minute is None else f" of {grant.requests_per_minute:.0f} granted"
    parts = [
        f"{seen.requests_per_minute:.0f} requests/min{granted}",
        f"{seen.in_flight} in flight",
        f"{seen.queued} queued",
        f"{seen.shed_per_minute:.0f}/min refused here",
        f"{seen.throttled_per_minute:.0f}/min 429s of the API",
    ]
    if seen.latency_p95_s is not None:
        parts.append(f"p95 {seen.latency_p95_s:.1f} s")
    return ", ".join(parts)


def _metrics(site: Site) -> list[str]:
    return [proxy.metrics_url for proxy in site.proxies if proxy.is_listening]
