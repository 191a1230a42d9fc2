"""The tables of a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from claudeops.fleet.views import GroupRates, GroupView, ObservedView, QuotaView, WorkloadView
from claudeops.proxyconfig import WorkloadKey
from claudeops.standalone.inventory import take_inventory
from claudeops.standalone.local_fleet import Site
from claudeops.standalone.manifest import parse_documents
from claudeops.standalone.plan import PlanRules, make_plan
from claudeops.standalone.table import TableOutput, limit_table, workload_table

MANIFESTS = """\
{apiVersion: claudeops.dev/v1alpha1, kind: ClaudeQuota, metadata: {name: default}, spec: {tier: Build}}
---
apiVersion: claudeops.dev/v1alpha1
kind: ClaudeWorkload
metadata: {name: bot}
spec:
  credentials: {secretRef: {name: key, key: api-key}}
  model: {name: claude-sonnet-5-5}
"""


def draw(table: object) -> list[list[str]]:
    stream = io.StringIO()
    Console(file=stream, width=200).print(table)
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in stream.getvalue().splitlines()]


def site() -> Site:
    planned = make_plan(take_inventory(parse_documents(MANIFESTS, "f")), PlanRules(b"k")).workloads[
        WorkloadKey(namespace="default", name="bot")
    ]
    seen = ObservedView(requests_per_minute=61.4, in_flight=3, queued=2, throttled_per_minute=1, latency_p95_s=2.25)
    view = WorkloadView(active_model="claude-sonnet-5-5", grant=GroupRates(requests_per_minute=590.6), observed=seen)
    status = {
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Converged", "message": ""},
            {"type": "Throttled", "status": "True", "reason": "RateLimited", "message": ""},
            {"type": "SLOMet", "status": "True", "reason": "Met", "message": ""},
        ]
    }
    return Site(planned, planned.draft, [], status, view)


def test_a_workload_s_row_has_its_figures_and_what_is_wrong() -> None:
    rows = draw(workload_table([site()]))
    cells = ["default/bot", "starting", "yes", "claude-sonnet-5-5", "61", "591", "3", "2", "1", "2.2 s", "Throttled=True (RateLimited)"]
    assert rows[1] == cells


def test_on_eighty_columns_nothing_is_cut_and_addresses_are_said_above() -> None:
    for width, has_line in ((80, True), (160, False)):
        stream = io.StringIO()
        output = TableOutput(Console(file=stream, width=width, force_terminal=True, color_system=None))
        output.tell("listening", "default/bot is served at http://127.0.0.1:41507")
        output.show([site()], {})
        output.close()
        said = stream.getvalue()
        assert ("http://127.0.0.1:41507" in said) is has_line
        assert "claude-sonnet-5-5" in said and "Throttled=True (RateLimited)" in said and "…" not in said


def test_a_group_s_row_says_what_is_used_of_what_there_is() -> None:
    common = {
        "group": "sonnet-5.5",
        "declared": 600,
        "learned": None,
        "granted": 5,
        "outside": None,
        "throttled_per_minute": 0,
        "workloads": 1,
    }
    groups = (
        GroupView(dimension="requests", level=0.8, capacity=591, used=120, **common),
        GroupView(dimension="outputTokens", level=None, capacity=1000, used=7, **common),
    )
    assert draw(limit_table({"prod": QuotaView(groups=groups)}))[1] == ["prod", "sonnet-5.5", "120 of 591, 80 % left", "7 of 1000"]
