"""The Admin API, as far as it concerns limits: what an organisation and its workspaces may use and spend, and who they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from claudeops.catalogue import load_catalogue
from claudeops.simulator.call import Call
from claudeops.simulator.config import DEFAULT_WORKSPACE, Account
from claudeops.simulator.http import Request
from claudeops.simulator.identity import rfc3339
from claudeops.simulator.paging import page_by_cursor
from claudeops.simulator.pool import BATCH_GROUP, COUNT_TOKENS_GROUP, FAST_PREFIX, FILES_GROUP
from claudeops.simulator.reply import Answer, Problem, invalid, not_found
from claudeops.simulator.samplingrule import NEWEST_VERSION
from claudeops.simulator.spend import WORKSPACE_PREFIX
from claudeops.simulator.workspacelimit import INPUT, INPUT_CACHE_AWARE, OUTPUT, REQUESTS, TOTAL
from claudeops.simulator.world import World

GROUP_TYPES = ("model_group", "batch", "token_count", "files", "skills", "web_search")
ENQUEUED = "enqueued_batch_requests"
FAST_INPUT, FAST_OUTPUT = "fast_itpmca", "fast_otpm"
WORKSPACE_KINDS = (FAST_INPUT, FAST_OUTPUT, INPUT, INPUT_CACHE_AWARE, OUTPUT, REQUESTS, "tokens_per_day", TOTAL, "tool_uses_per_second")
"""What a workspace's limit can be of; not all of them are enforced."""
_POOL_TYPES = {BATCH_GROUP: "batch", COUNT_TOKENS_GROUP: "token_count", FILES_GROUP: "files"}


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    value: int | None


class _Update(msgspec.Struct, forbid_unknown_fields=True):
    limits: list[_Change]


class OrganizationDesk:
    """Answers the Admin API. Its keys are not those of the Messages API."""

    def __init__(self, world: World) -> None:
        self._world = world

    def describe(self, call: Call) -> Answer:
        """``GET /v1/organizations/me``."""
        account = _account(call)
        return Answer.of({"type": "organization", "id": account.organization_id, "name": account.organization})

    def list_rate_limits(self, call: Call) -> Answer | Problem:
        """``GET /v1/organizations/rate_limits``: one entry for each pool; ``group_type``, ``model``, ``limit``, ``page``."""
        names = self._chosen(call.request)
        if isinstance(names, Problem):
            return names
        return _page(call.request, [self._entry(call, name) for name in names if self._values(name)])

    def list_workspace_rate_limits(self, call: Call) -> Answer | Problem:
        """``GET …/workspaces/{id}/rate_limits``: the workspace's own limits; with ``include_inherited`` the organisation's too."""
        names = self._chosen(call.request)
        workspace = self._workspace(call)
        if isinstance(names, Problem) or isinstance(workspace, Problem):
            return names if isinstance(names, Problem) else workspace if isinstance(workspace, Problem) else not_found("")
        is_full = call.request.parameter("include_inherited") == "true"
        entries = [self._workspace_entry(call, workspace.workspace_id, name, is_full) for name in names]
        return _page(call.request, [entry for entry in entries if entry["limits"]])

    def update_workspace_rate_limit(self, call: Call) -> Answer | Problem:
        """``POST …/workspaces/{id}/rate_limits/{rate_limit_id}``: set limits, or clear them by null; the older version only reads."""
        workspace = self._workspace(call)
        name = next((name for name in self._names() if _limit_id(call, name) == call.names[1]), None)
        if isinstance(workspace, Problem):
            return workspace
        if name is None or call.version != NEWEST_VERSION:
            return not_found(f"Rate limit not found: {call.names[1]}")
        if workspace.workspace == DEFAULT_WORKSPACE:
            return invalid("Limits cannot be set on the default workspace.")
        try:
            update = msgspec.json.decode(call.request.body, type=_Update)
        except msgspec.DecodeError as error:
            return invalid(str(error))
        wrong = next((change.type for change in update.limits if change.type not in WORKSPACE_KINDS), None)
        if wrong is not None:
            return invalid(f"limits.type: '{wrong}' is no limit that a workspace can have")
        self._world.workspaces.set(workspace.workspace_id, name, {change.type: change.value for change in update.limits})
        return Answer.of(self._workspace_entry(call, workspace.workspace_id, name, False))

    def list_spend_limits(self, call: Call) -> Answer | Problem:
        """``GET /v1/organizations/spend_limits``: amounts are cents, as text."""
        limits = self._world.spend.limits
        return _page(call.request, [self._spend_limit(call, scope, amount) for scope, amount in limits.items()])

    def list_effective_spend_limits(self, call: Call) -> Answer | Problem:
        """``GET /v1/organizations/spend_limits/effective``: a row for each limit, with what was spent; the actor is always this key."""
        spend, account = self._world.spend, _account(call)
        rows = []
        for scope, amount in spend.limits.items():
            shown = self._spend_limit(call, scope, amount)
            row = {name: shown[name] for name in ("amount", "currency", "period", "scope")}
            cents = spend.spent_usd_of(Account(account.organization, scope.removeprefix(WORKSPACE_PREFIX)), scope) * 100
            actor = {"type": "scoped_api_key_actor", "scoped_api_key_id": "sak_" + _digest(call.key)}
            spent = {"period_to_date_spend": f"{cents:.3f}".rstrip("0").rstrip(".")}
            rows.append({"actor": actor, **row, **spent, "source": shown["scope"], "spend_limit_id": shown["id"]})
        return _page(call.request, rows)

    # -- pieces

    def _spend_limit(self, call: Call, scope: str, amount_usd: float) -> dict[str, Any]:
        kind: dict[str, Any] = {"type": scope}
        if scope.startswith(WORKSPACE_PREFIX):
            named = Account(_account(call).organization, scope.removeprefix(WORKSPACE_PREFIX))
            kind = {"type": "workspace", "workspace_id": named.workspace_id}
        now = rfc3339(int(self._world.identity.now_s()))
        return {
            "id": "spl_" + _digest(_account(call).organization, scope),
            "type": "spend_limit",
            "scope": kind,
            "amount": str(round(amount_usd * 100)),
            "currency": "USD",
            "period": "monthly",
            "is_enabled": True,
            "created_at": now,
            "updated_at": now,
        }

    def _names(self) -> list[str]:
        return [*load_catalogue().groups, *_POOL_TYPES]

    def _chosen(self, request: Request) -> list[str] | Problem:
        """The pools that the filters leave."""
        kind, model_name = request.parameter("group_type"), request.parameter("model")
        if kind and kind not in GROUP_TYPES:
            return invalid(f"group_type: Input should be one of {', '.join(GROUP_TYPES)}")
        names = [name for name in self._names() if kind in ("", _POOL_TYPES.get(name, "model_group"))]
        if not model_name:
            return names
        model = load_catalogue().model(model_name)
        if model is None or model.rate_limit_group not in names:
            return not_found(f"model: {model_name}")
        return [model.rate_limit_group]

    def _workspace(self, call: Call) -> Account | Problem:
        """The workspace that the path names, if it is the organisation's."""
        organization = _account(call).organization
        known = [*self._world.config.keys.values(), Account(organization)]
        found = next((account for account in known if account.organization == organization and account.workspace_id == call.names[0]), None)
        return found or not_found(f"Workspace not found: {call.names[0]}")

    def _values(self, name: str) -> dict[str, int]:
        """The organisation's limits of one pool, by the kind's name."""
        limits = self._world.pools.limits_of(name)
        if limits is None:
            return {}
        values = {REQUESTS: limits.requests_per_minute}
        if name in _POOL_TYPES:
            batches = self._world.pools.batch_limits if name == BATCH_GROUP else None
            return values if batches is None else {**values, ENQUEUED: batches.queued_requests}
        rule = load_catalogue().groups[name]
        values[INPUT if rule.counts_cache_reads else INPUT_CACHE_AWARE] = limits.input_tokens_per_minute
        values[OUTPUT] = limits.output_tokens_per_minute
        fast = self._world.pools.limits_of(FAST_PREFIX + name)
        if fast is not None and any(model.fast.mode in ("ga", "beta") for model in load_catalogue().models_of(name)):
            values |= {FAST_INPUT: fast.input_tokens_per_minute, FAST_OUTPUT: fast.output_tokens_per_minute}
        return values

    def _entry(self, call: Call, name: str) -> dict[str, Any]:
        limits = [{"type": kind, "value": value} for kind, value in self._values(name).items()]
        entry = {"type": "rate_limit", **_group_members(call, name), "models": _models(name), "limits": limits}
        return {"id": _limit_id(call, name), **entry} if call.version == NEWEST_VERSION else entry

    def _workspace_entry(self, call: Call, workspace_id: str, name: str, is_full: bool) -> dict[str, Any]:
        own, inherited = self._world.workspaces.limits_of(workspace_id, name), self._values(name)
        limits = [_workspace_value(kind, value, inherited.get(kind), "workspace") for kind, value in own.items()]
        if is_full:
            limits += [_workspace_value(kind, value, value, "organization") for kind, value in inherited.items() if kind not in own]
        ids = {"rate_limit_id": _limit_id(call, name), "workspace_id": workspace_id} if call.version == NEWEST_VERSION else {}
        return {"type": "workspace_rate_limit", **ids, **_group_members(call, name), "models": _models(name), "limits": limits}


def _account(call: Call) -> Account:
    assert call.account is not None
    return call.account


def _workspace_value(kind: str, value: int, of_organization: int | None, source: str) -> dict[str, Any]:
    return {"type": kind, "value": value, "org_limit": of_organization, "source": {"type": source}}


def _group_members(call: Call, name: str) -> Mapping[str, Any]:
    """Which pool an entry is for: an object in the newest version, a word in the older one."""
    kind = _POOL_TYPES.get(name, "model_group")
    if call.version != NEWEST_VERSION:
        return {"group_type": kind}
    shown = {"display_name": f"Claude {load_catalogue().groups[name].display_name}"} if kind == "model_group" else {}
    return {"group": {"type": kind, "id": "rlg_" + _digest(name), **shown}}


def _models(name: str) -> list[str] | None:
    """Ids and aliases of a group's models; None for a pool that is not of models."""
    if name in _POOL_TYPES:
        return None
    return [known for model in load_catalogue().models_of(name) for known in (model.id, *model.aliases)]


def _limit_id(call: Call, name: str) -> str:
    return "rl_" + _digest(_account(call).organization, name)


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:22]


def _page(request: Request, entries: Iterable[dict[str, Any]]) -> Answer | Problem:
    paged = page_by_cursor(request, list(entries), default=None)
    return paged if isinstance(paged, Problem) else Answer.of({"data": paged[0], "next_page": paged[1]})
