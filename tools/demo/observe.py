"""Samples of one second: what the customers asked, what the simulator (the referee) saw, and what the ClaudeWorkload's status says."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from typing import Any, NamedTuple

from tools.demo.access import Access
from tools.demo.screen import Row, Screen

NAMESPACE = "shop"
WORKLOAD = "support-bot"
WORKLOADS_PATH = f"/apis/claudeops.dev/v1alpha1/namespaces/{NAMESPACE}/claudeworkloads"
SMOOTH_S = 5.0


class Sample(NamedTuple):
    """Totals at one moment. ``codes``: the simulator's answers to the story's workload's models by status."""

    at_s: float
    asked: int
    ok: int
    failed: int
    codes: Counter[str]
    status: dict[str, Any]


class Observer:
    """Takes a sample a second in the background and shows it; the story asks for rates over the last seconds."""

    def __init__(self, access: Access, screen: Screen) -> None:
        self._access = access
        self._screen = screen
        self._samples: deque[Sample] = deque(maxlen=600)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        """Begins to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Ends sampling."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def newest(self) -> Sample | None:
        """The last sample, if there is one."""
        return self._samples[-1] if self._samples else None

    def status(self) -> dict[str, Any]:
        """The ClaudeWorkload's newest status."""
        return self._samples[-1].status if self._samples else {}

    def condition(self, kind: str) -> dict[str, Any]:
        """One condition of the newest status; empty while it is not there."""
        return next((item for item in self.status().get("conditions", []) if item["type"] == kind), {})

    def per_minute(self, name: str, *, over_s: float = SMOOTH_S) -> float:
        """Rate of ``asked``, ``ok``, ``failed`` or an upstream status code (``"200"``, ``"429"``), a minute, over the last seconds."""
        if len(self._samples) < 2:
            return 0.0
        last = self._samples[-1]
        first = next((sample for sample in self._samples if sample.at_s >= last.at_s - over_s - 0.1), last)
        if last.at_s <= first.at_s:
            return 0.0
        return 60 * max(0, _total(last, name) - _total(first, name)) / (last.at_s - first.at_s)

    def count_since(self, name: str, since_s: float) -> int:
        """How many came since a moment of ``time.monotonic()``."""
        first = next((sample for sample in self._samples if sample.at_s >= since_s), None)
        return 0 if first is None else _total(self._samples[-1], name) - _total(first, name)

    def last_of(self, name: str, since_s: float) -> float:
        """The moment of the last sample since then in which the count had grown; ``since_s`` when it did not."""
        samples = [sample for sample in self._samples if sample.at_s >= since_s]
        grown = [later.at_s for sample, later in itertools.pairwise(samples) if _total(later, name) > _total(sample, name)]
        return max(grown, default=since_s)

    def _run(self) -> None:
        while not self._stopped.wait(1.0):
            try:
                sample = take(self._access)
            except (OSError, KeyError, ValueError):
                continue  # the API server is busy: the next second has another sample
            self._samples.append(sample)
            self._screen.row(self._row())

    def _row(self) -> Row:
        status = self.status()
        replicas = int(status.get("replicas", 0))
        return Row(
            asked_per_min=self.per_minute("asked"),
            served_per_min=self.per_minute("ok"),
            refused_by_us_per_min=self.per_minute("failed"),
            throttled_per_min=self.per_minute("429"),
            grant_per_min=float(status.get("grant", {}).get("requestsPerMinute", 0)),
            replicas=replicas,
            desired_replicas=int(status.get("desiredReplicas", replicas)),
            connections=int(status.get("connectionsPerProxy", 0)),
            tier=str(status.get("effective", {}).get("tier", "")),
        )


def take(access: Access) -> Sample:
    """One sample. Raises :class:`OSError` when a part does not answer."""
    customers = access.service(NAMESPACE, "customers", "/stats")[WORKLOAD]
    stats = access.service("claude-simulator", "simulator", "/_sim/stats")
    workload = access.request(f"{WORKLOADS_PATH}/{WORKLOAD}")
    return Sample(
        at_s=time.monotonic(),
        asked=customers["asked"],
        ok=customers["ok"],
        failed=sum(customers["failed"].values()),
        codes=_codes(stats),
        status=workload.get("status", {}),
    )


def _codes(stats: dict[str, Any]) -> Counter[str]:
    """Answers by status of the two models that the story's workload may use."""
    found: Counter[str] = Counter()
    for model in ("claude-sonnet-5-5", "claude-haiku-5-5"):
        found.update({str(code): int(count) for code, count in stats["by_model"].get(model, {}).items()})
    return found


def _total(sample: Sample, name: str) -> int:
    if name in ("asked", "ok", "failed"):
        return int(getattr(sample, name))
    return sample.codes[name]
