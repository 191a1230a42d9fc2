"""The story, step by step. Each step does something to the world, waits for what the product promises, and reports what was seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tools.demo.access import Access, DemoError, wait_until
from tools.demo.observe import NAMESPACE, WORKLOAD, WORKLOADS_PATH, Observer
from tools.demo.screen import Screen

LIMIT_PER_MIN = 600
PRIMARY, FALLBACK, GROUP = "claude-sonnet-5-5", "claude-haiku-5-5", "sonnet-5.5"
EXAMPLE = "examples/support-bot"


class Story:
    """Runs the steps in order and keeps their figures."""

    def __init__(self, access: Access, screen: Screen, observer: Observer) -> None:
        self._access = access
        self._screen = screen
        self._observer = observer
        self.results: list[dict[str, Any]] = []

    @property
    def has_failed(self) -> bool:
        """Whether a step did not happen."""
        return any(not result["happened"] for result in self.results)

    def tell(self) -> None:
        """All steps. One that fails is said, and the next one begins: each stands on its own."""
        self._step("The team applies its resources, and pods start with the proxy beside them", self._start)
        if self.has_failed:
            return
        self._observer.start()
        self._step("Two wrong temperatures are put right on the way to the API", self._temperatures)
        self._step("Load rises to three times the quota", self._overload)
        self._step("Somebody else in the organisation takes half of the limit", self._outsider)
        self._step("They leave again", self._outsider_leaves)
        self._step("The primary model fails", self._primary_fails)
        self._step("The primary model heals", self._primary_heals)
        self._step("What stays visible in the cluster", self._look)

    def _step(self, title: str, act: Callable[[], dict[str, Any]]) -> None:
        self._screen.step(title)
        began_s = time.monotonic()
        try:
            figures, problem = act(), ""
        except (DemoError, OSError) as error:  # an OSError: a part of the cluster did not answer in time
            figures, problem = {}, str(error) or type(error).__name__
            self._screen.bad(problem)
        seconds = round(time.monotonic() - began_s, 1)
        self.results.append(
            {"step": title, "happened": not problem, "seconds": seconds, "figures": figures, **({"problem": problem} if problem else {})}
        )

    # -- steps ---------------------------------------------------------------------------------------------------------------------------

    def _start(self) -> dict[str, Any]:
        self._screen.note(self._access.shown("apply", "-k", EXAMPLE))
        began_s = time.monotonic()
        self._access.install("-k", EXAMPLE, namespaces=[NAMESPACE])
        for name in ("support-bot", "invoice-reader", "customers"):
            self._access.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{name}", "--timeout=120s")
        wait_until("ClaudeWorkloads Ready", lambda: all(self._is_ready(name) for name in (WORKLOAD, "invoice-reader")), timeout_s=60)
        pods = self._access.request(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=claudeops.dev/workload")["items"]
        without = [
            pod["metadata"]["name"]
            for pod in pods
            if not any(c["name"] == "claudeops-sidecar" for c in pod["spec"].get("initContainers", []))
        ]
        if without or not pods:
            raise DemoError(f"pods without a proxy: {without}")
        seconds = round(time.monotonic() - began_s, 1)
        self._screen.good(
            f"{len(pods)} pods run with a proxy in front of Claude, {seconds} s after kubectl apply; none of them holds the API key"
        )
        return {"secondsToReady": seconds, "pods": len(pods)}

    def _temperatures(self) -> dict[str, Any]:
        old = wait_until("a request of the old SDK at the API", lambda: self._seen("claude-sonnet-4-6"), timeout_s=30)
        new = wait_until("a request of the new SDK at the API", lambda: self._seen(PRIMARY), timeout_s=30)
        if old["sampling"].get("temperature") != 0.4 or new["sampling"]:
            raise DemoError(f"the simulator saw {old['sampling']} and {new['sampling']}, not temperature 0.4 and nothing")
        self._screen.good("invoice-reader (SDK 0.125, claude-sonnet-4-6) sent temperature 1.0: the API received 0.4, the profile's maximum")
        self._screen.good("support-bot (SDK 2.12, claude-sonnet-5-5) sent temperature 0.9: the API received none; a 400 became a 200")
        return {"claude-sonnet-4-6": old["sampling"], PRIMARY: new["sampling"]}

    def _overload(self) -> dict[str, Any]:
        self._ask_for(3 * LIMIT_PER_MIN)
        self._screen.note(f"customers ask {3 * LIMIT_PER_MIN} questions a minute; the organisation may send {LIMIT_PER_MIN}")
        wait_until("throughput near the limit", lambda: self._observer.per_minute("200") > 0.9 * LIMIT_PER_MIN, timeout_s=60)
        wait_until("more replicas", lambda: self._replicas() >= 4, timeout_s=60)
        began_s = self._settle(7)
        served, throttled = self._observer.count_since("200", began_s), self._observer.count_since("429", began_s)
        rate = self._observer.per_minute("200", over_s=8)
        if rate < 0.9 * LIMIT_PER_MIN:
            raise DemoError(f"only {rate:.0f} of {LIMIT_PER_MIN} requests a minute went through")
        if throttled > 0.02 * served:
            raise DemoError(f"{throttled} of {served} requests were answered 429 by the API")
        status = self._observer.status()
        self._screen.good(f"{rate:.0f} requests a minute of {LIMIT_PER_MIN} allowed, {throttled} of {served} answered 429 by the API")
        self._screen.good(
            f"{status.get('replicas')} replicas, {status.get('connectionsPerProxy')} connections each: what the quota can feed"
        )
        self._figures = {
            "requestsPerMinute": round(rate),
            "share": round(rate / LIMIT_PER_MIN, 3),
            "throttled": throttled,
            "served": served,
        }
        self._before = {"replicas": status.get("replicas", 0), "connections": status.get("connectionsPerProxy", 0), "grant": _grant(status)}
        return {**self._figures, **self._before}

    def _outsider(self) -> dict[str, Any]:
        began_s = time.monotonic()
        self._faults([{"kind": "outside_share", "model": GROUP, "share": 0.5}])
        self._ask_for(1.5 * LIMIT_PER_MIN)
        self._screen.note("the proxies are not told: they see the bucket's level fall, and 429s")
        wait_until("the grant to shrink", lambda: _grant(self._observer.status()) < 0.85 * self._before["grant"], timeout_s=45)
        wait_until("smaller connection pools", lambda: self._connections() < self._before["connections"], timeout_s=45)
        wait_until("fewer replicas", lambda: self._replicas() < self._before["replicas"], timeout_s=60)
        wait_until("429s to vanish", lambda: self._observer.per_minute("429", over_s=4) == 0, timeout_s=45)
        throttled, last_s = self._observer.count_since("429", began_s), self._observer.last_of("429", began_s)
        quiet_s = round(max(0.0, last_s - began_s), 1)
        if quiet_s > 30:
            raise DemoError(f"429s of the API went on for {quiet_s} s")
        now = {"grant": _grant(self._observer.status()), "connections": self._connections(), "replicas": self._replicas()}
        seen = f"{throttled} requests met a 429 of the API, the last one {quiet_s} s after the change"
        self._screen.good(seen if throttled else "no request met a 429 of the API: the falling level slowed the proxies before")
        self._screen.good(", ".join(f"{name} {self._before[name]:.0f} → {value:.0f}" for name, value in now.items()))
        return {"secondsUntilLastThrottle": quiet_s, "throttled": throttled, **now}

    def _outsider_leaves(self) -> dict[str, Any]:
        began_s = time.monotonic()
        self._faults([])
        self._ask_for(1.2 * LIMIT_PER_MIN)
        wait_until("throughput to come back", lambda: self._observer.per_minute("200") > 0.9 * LIMIT_PER_MIN, timeout_s=60)
        wait_until("replicas to come back", lambda: self._replicas() >= self._before["replicas"], timeout_s=60)
        seconds = round(time.monotonic() - began_s, 1)
        self._screen.good(
            f"{self._observer.per_minute('200'):.0f} requests a minute and {self._replicas()} replicas again after {seconds} s"
        )
        return {"secondsToRecover": seconds, "replicas": self._replicas()}

    def _primary_fails(self) -> dict[str, Any]:
        self._ask_for(0.8 * LIMIT_PER_MIN)
        # Those refused while it was too much come back once more, after the wait that they were told.
        wait_until("queues to empty", lambda: self._observer.per_minute("failed", over_s=6) == 0, timeout_s=60)
        self._settle(2)
        began_s = time.monotonic()
        self._faults([{"kind": "overloaded", "model": PRIMARY}])
        self._screen.note(f"{PRIMARY} answers 529 to everything from now on")
        wait_until("the fleet on its fallback", lambda: self._is_true("FallbackActive"), timeout_s=30, every_s=0.1)
        seconds = round(time.monotonic() - began_s, 1)
        self._settle(5)
        failed = self._observer.count_since("failed", began_s)
        if failed:
            raise DemoError(f"the application saw {failed} errors, the last: {self._last_error()}")
        self._screen.good(f"breakers opened, the fleet serves {FALLBACK} after {seconds} s; the application saw no error")
        return {
            "secondsToFallback": seconds,
            "applicationErrors": failed,
            "reason": self._observer.condition("FallbackActive").get("reason"),
        }

    def _primary_heals(self) -> dict[str, Any]:
        began_s = time.monotonic()
        self._faults([])
        wait_until("the fleet back on its primary", lambda: self._is_false("FallbackActive"), timeout_s=60)
        seconds = round(time.monotonic() - began_s, 1)
        self._settle(2)
        failed = self._observer.count_since("failed", began_s)
        if failed:
            raise DemoError(f"the application saw {failed} errors, the last: {self._last_error()}")
        self._screen.good(f"probes went through, the fleet is back on {PRIMARY} after {seconds} s; the application saw no error")
        return {"secondsToFlipBack": seconds, "applicationErrors": failed}

    def _look(self) -> dict[str, Any]:
        self._screen.note(self._access.shown("-n", NAMESPACE, "get", "cw"))
        self._screen.verbatim(self._access.kubectl("-n", NAMESPACE, "get", "cw"))
        self._screen.note(self._access.shown("-n", NAMESPACE, "describe", "cw", WORKLOAD))
        described = self._access.kubectl("-n", NAMESPACE, "describe", "cw", WORKLOAD)
        self._screen.verbatim(described)
        if "Scaled" not in described.partition("Events:")[2]:
            raise DemoError("kubectl describe shows no event of ours")
        return {}

    # -- the world -----------------------------------------------------------------------------------------------------------------------

    def _ask_for(self, per_minute: float) -> None:
        body = {"data": {WORKLOAD: str(int(per_minute))}}
        self._access.request(f"/api/v1/namespaces/{NAMESPACE}/configmaps/rates", method="PATCH", body=body)

    def _faults(self, faults: list[dict[str, Any]]) -> None:
        self._access.service("claude-simulator", "simulator", "/_sim/faults", method="PUT", body=faults)

    def _seen(self, model: str) -> dict[str, Any]:
        requests = self._access.service("claude-simulator", "simulator", f"/_sim/requests?limit=50&model={model}")
        return next((dict(request) for request in requests if request["code"] == 200), {})

    def _is_ready(self, name: str) -> bool:
        status = self._access.request(f"{WORKLOADS_PATH}/{name}").get("status", {})
        ready: dict[str, Any] = next((item for item in status.get("conditions", []) if item["type"] == "Ready"), {})
        return ready.get("status") == "True" and status.get("proxies", {}).get("converged", 0) >= 1

    def _is_true(self, kind: str) -> bool:
        return self._live_condition(kind) == "True"

    def _is_false(self, kind: str) -> bool:
        return self._live_condition(kind) == "False"

    def _live_condition(self, kind: str) -> str:
        status = self._access.request(f"{WORKLOADS_PATH}/{WORKLOAD}").get("status", {})
        return str(next((item["status"] for item in status.get("conditions", []) if item["type"] == kind), ""))

    def _replicas(self) -> int:
        return int(self._observer.status().get("replicas", 0))

    def _connections(self) -> int:
        return int(self._observer.status().get("connectionsPerProxy", 0))

    def _settle(self, seconds: float) -> float:
        """Lets time pass, so that a figure has a window to be measured over. Returns the window's begin."""
        began_s = time.monotonic()
        time.sleep(seconds)
        return began_s

    def _last_error(self) -> str:
        return str(json.dumps(self._access.service(NAMESPACE, "customers", "/stats")[WORKLOAD]["lastError"]))


def _grant(status: dict[str, Any]) -> float:
    return float(status.get("grant", {}).get("requestsPerMinute", 0))
