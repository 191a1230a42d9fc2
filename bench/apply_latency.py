"""How long a changed SamplingProfile takes from `kubectl apply` to the first request that reaches the API under it, on a real cluster.

Needs the demonstration left up: ``make demo ARGS=--keep``. Each round applies the profile with another maximum temperature and asks the
simulator, whose clock is this machine's, when it first saw a request with that value: asking seldom costs no precision. The time runs
from before `kubectl apply` is started.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from typing import Any

from tools.demo.access import Access, wait_until
from tools.demo.cluster_start import local_access
from tools.demo.observe import NAMESPACE

from bench.result import Row, record

WORKLOAD, MODEL, GROUP = "invoice-reader", "claude-sonnet-4-6", "sonnet-4.x"
RATE_PER_MIN = 900
LIMITS = {"requestsPerMinute": 6000, "inputTokensPerMinute": 6_000_000, "outputTokensPerMinute": 1_200_000}


def measure(access: Access, rounds: int) -> list[float]:
    """Seconds of each round."""
    _widen(access)
    seconds = []
    for number in range(rounds):
        maximum = round(0.2 + 0.001 * (number + 1), 4)
        profile = {
            "apiVersion": "claudeops.dev/v1alpha1",
            "kind": "SamplingProfile",
            "metadata": {"name": "careful"},
            "spec": {"temperature": {"default": 0.2, "min": 0.2, "max": maximum}, "maxTokens": {"default": 256, "max": 1024}},
        }
        began_s = time.time()
        access.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(profile))
        check = functools.partial(_first_seen, access, maximum)
        seen_at = wait_until(f"a request with temperature {maximum}", check, timeout_s=30, every_s=0.5)
        seconds.append(round(seen_at - began_s, 3))
        print(f"  round {number + 1:2d}: {seconds[-1]:.3f} s", flush=True)
    return seconds


def _widen(access: Access) -> None:
    """Room for enough traffic to see the change at once: limits of the simulator and of the quota, then the rate."""
    limits = {"limits": {GROUP: {"rpm": 6000, "itpm": 6_000_000, "otpm": 1_200_000}}}
    access.service("claude-simulator", "simulator", "/_sim/limits", method="PUT", body=limits)
    quota = access.request("/apis/claudeops.dev/v1alpha1/claudequotas/prod")
    wide = [{**item, **LIMITS} if item["group"] == GROUP else item for item in quota["spec"]["limits"]]
    access.kubectl("patch", "cq", "prod", "--type=merge", "-p", json.dumps({"spec": {"limits": wide}}))
    rates: dict[str, Any] = {"data": {WORKLOAD: str(RATE_PER_MIN), "support-bot": "0"}}
    access.request(f"/api/v1/namespaces/{NAMESPACE}/configmaps/rates", method="PATCH", body=rates)
    wait_until("the traffic", lambda: len(_requests(access, time.time() - 5)) > 50, timeout_s=60)


def _requests(access: Access, since_s: float) -> list[dict[str, Any]]:
    seen = access.service("claude-simulator", "simulator", f"/_sim/requests?limit=200&model={MODEL}")
    return [request for request in seen if request["at"] >= since_s]


def _first_seen(access: Access, temperature: float) -> float:
    moments = [request["at"] for request in _requests(access, 0.0) if request["sampling"].get("temperature") == temperature]
    return min(moments, default=0.0)


def main() -> int:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    access = local_access()
    try:
        seconds = measure(access, arguments.rounds)
    finally:
        access.close()
    ordered = sorted(seconds)
    what = f"kubectl apply of a changed profile → first request under it, slowest of {len(seconds)}"
    measured = f"{ordered[-1]:.2f} s (median {ordered[len(ordered) // 2]:.2f} s)"
    row = Row(what, "≤ 1 s", measured, ordered[-1], "s", runs=len(ordered))
    record("apply_latency", [row], {"seconds": seconds})
    return 0


if __name__ == "__main__":
    sys.exit(main())
