"""What the sidecar knows while it runs: compiled from the configuration, changed by assignments, read by every stage.

The seam between the request path and the control side (configuration files, exchange, metrics, admin, drain):

* the control side calls ``apply_config``, ``apply_assignment``, ``set_key`` or ``set_token``, ``start_drain``, ``take_window``, and reads
  counters;
* the request path calls ``on_urgent(reason)`` (``429``, ``limit``, ``queue``, ``breaker``) when the controller should hear of it at once;
* ``on_refused()`` when the API does not take the key or token;
* ``on_change()`` and ``on_room()`` are the request path's own: parked requests walk again, or try their limiter again.

Everything runs on one event loop thread; nothing here blocks or waits.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from claudeops.catalogue import Catalogue, load_catalogue
from claudeops.errors import InvalidResource
from claudeops.exchange import Assignment
from claudeops.exchange import Rates as WireRates
from claudeops.policy.backoff import RetryBudget
from claudeops.policy.breaker import BreakerParameters
from claudeops.policy.estimate import PrefixMemory, TokenRatio
from claudeops.policy.lease_state import HeldLease, LeasePhase
from claudeops.policy.rates import Rates
from claudeops.policy.slo import SloWindow
from claudeops.proxyconfig import Objective, ProxyConfig
from claudeops.proxyconfig import Rates as ConfigRates
from claudeops.sidecar.counters import Window
from claudeops.sidecar.group import AUXILIARY, UNLIMITED, GroupRuntime
from claudeops.sidecar.ledger import UNKNOWN, Used
from claudeops.sidecar.model import ModelRuntime
from claudeops.sidecar.sticky import StickySessions
from claudeops.sidecar.target import Target, is_same_target, target_of
from claudeops.sidecar.thought import ThoughtAuthors

DEFAULT_GROUP = "default"
ORGANIZATIONS_MAX = 8
NO_MAX_IN_FLIGHT = 1_000_000


def _nothing() -> None:
    """The default hook."""


def _silent(reason: str) -> None:
    """The default hook."""


class Runtime:
    """Shared by every stage. ``clock`` is monotonic seconds, ``wall_clock`` unix seconds; tests own both."""

    __slots__ = (
        "assignment",
        "auth_line",
        "breaker_parameters",
        "catalogue",
        "clock",
        "config",
        "connections",
        "fallback_requests",
        "groups",
        "in_flight",
        "is_choice_open",
        "is_draining",
        "key",
        "key_error",
        "ledger",
        "max_in_flight",
        "models",
        "on_change",
        "on_refused",
        "on_room",
        "on_urgent",
        "organization_ids",
        "prefixes",
        "primary",
        "ratios",
        "retry_budget",
        "rng",
        "slos",
        "sticky",
        "target",
        "thoughts",
        "tiers",
        "wall_clock",
        "window",
        "workspace_ids",
    )

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        wall_clock: Callable[[], float],
        rng: Random | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.clock = clock
        self.wall_clock = wall_clock
        self.rng = rng or Random()
        self.catalogue = catalogue or load_catalogue()
        self.config: ProxyConfig | None = None
        """In force; None until the first one is applied: then every request is refused."""
        self.target: Target | None = None
        """Where the upstream of the configuration in force is."""
        self.key: bytes | None = None
        self.auth_line = b""
        """What authenticates a request, with its line end; empty while there is no key."""
        self.key_error = ""
        """Why there is no key, or no newer one."""
        self.on_refused: Callable[[], None] = _nothing
        self.is_draining = False
        self.on_urgent: Callable[[str], None] = _silent
        self.on_change: Callable[[], None] = _nothing
        self.on_room: Callable[[], None] = _nothing
        self.assignment: Assignment | None = None
        """The last one applied."""
        self.breaker_parameters = BreakerParameters()
        self.groups: dict[str, GroupRuntime] = {}
        self.models: dict[str, ModelRuntime] = {}
        self.ledger: dict[str, Used] = {}
        """What was used, by the id of the model that served; names that the catalogue does not know are one entry."""
        self.ratios: dict[str, TokenRatio] = {}
        """What this workload's text is in tokens, by tokenizer: a fallback is estimated by what its kin have learned."""
        self.primary: ModelRuntime | None = None
        self.tiers: tuple[ModelRuntime, ...] = ()
        """``model.name``, then the fallbacks."""
        self.is_choice_open = False
        """A request may name its model."""
        self.retry_budget = RetryBudget(20.0)
        self.prefixes = PrefixMemory(4096)
        self.sticky: StickySessions = StickySessions()
        self.thoughts: ThoughtAuthors = ThoughtAuthors()
        self.connections = 50
        """Ceiling of the main upstream pool."""
        self.max_in_flight = NO_MAX_IN_FLIGHT
        self.in_flight = 0
        """Requests at the API now, the auxiliary groups' not among them."""
        self.window = Window()
        self.slos: list[SloWindow] = []
        """One per objective of the configuration, in its order."""
        self.fallback_requests = 0
        self.organization_ids: dict[str, None] = {}
        self.workspace_ids: dict[str, None] = {}

    # -- called by the control side

    def apply_config(self, config: ProxyConfig, now: float) -> None:
        """Make `config` the one in force, for parked requests too. Raises InvalidResource (and changes nothing) if it names an
        unknown model; counters, breakers, leases and running requests are kept."""
        names = [config.model.name, *config.model.fallbacks]
        unknown = [name for name in names if self.catalogue.model(name) is None]
        if unknown:
            raise InvalidResource(f"{unknown[0]} is not a model this proxy knows: name one of the catalogue", path="model")
        if self.config is None or not is_same_target(config, self.config):
            self.target = target_of(config)
        previous, self.config = self.config, config
        self._apply_limits(config, now)
        self._apply_resilience(config)
        self.tiers = tuple(found for name in names if (found := self.model(name, now)) is not None)
        self.primary = self.tiers[0]
        self.is_choice_open = config.model.client_choice != "Never"
        self.slos = _windows_for(config.objectives, () if previous is None else previous.objectives, self.slos)
        self._size_pool()
        self.on_change()

    def apply_assignment(self, assignment: Assignment, *, sent_at: float, now: float) -> None:
        """Take leases, flips, pool size and budgets. `sent_at`: when the report that this answers was sent (the TTL counts from
        there). Order by (epoch, version) and `assignment.config` are the caller's business (`apply_config` first)."""
        self._take_back(assignment)
        self.assignment = assignment
        for name, lease in assignment.leases.items():
            group = self.group(name, now)
            group.held = HeldLease(_per_second(lease.rates), lease.is_contended, sent_at, assignment.ttl_s)
            group.limits = _per_second(lease.limits) if lease.limits != WireRates() else None
            group.full_s = _per_second(lease.full_s)
        self.refresh_leases(now)
        self._size_pool()
        self.max_in_flight = self._own_in_flight() if assignment.max_in_flight is None else assignment.max_in_flight
        self.retry_budget.scale = assignment.retry_budget_scale
        if self._apply_flips(assignment):
            self.on_change()
        else:
            self.on_room()

    def _take_back(self, assignment: Assignment) -> None:
        """What the same controller leased with its last word and does not with this one is the baseline's from now on. Of a new one
        silence says nothing: it may not know the group yet."""
        last = self.assignment
        if last is None or last.epoch != assignment.epoch:
            return
        for name in last.leases.keys() - assignment.leases.keys():
            group = self.groups[name]
            group.held = group.limits = group.full_s = None

    def refresh_leases(self, now: float) -> None:
        """Once a second: fresh leases become reduced ones, those the baseline. The request path's sweep calls this."""
        for group in self.groups.values():
            lease = group.apply_lease(now, has_controller=self._has_controller)
            if lease is not LeasePhase.FRESH and group.phase is LeasePhase.FRESH:
                self.max_in_flight = self._own_in_flight()
            group.phase = lease

    def set_key(self, key: bytes | None) -> None:
        """The API key to send; None while there is none (every request is then refused with `credentials`)."""
        self.key = key or None
        self.auth_line = b"x-api-key: %b\r\n" % key if key else b""

    def set_token(self, token: bytes | None) -> None:
        """The same for an access token."""
        self.key = token or None
        self.auth_line = b"authorization: Bearer %b\r\n" % token if token else b""

    def start_drain(self) -> None:
        """From now on refuse new requests with `draining`; what is parked or runs is finished. Every answer ends its connection."""
        if self.is_draining:
            return
        self.is_draining = True
        for model in self.models.values():
            model.end_connections()

    @property
    def lease_phase(self) -> LeasePhase:
        """The worst phase of the groups that hold or held a lease; Baseline before the first assignment."""
        phases = {group.phase for group in self.groups.values() if group.held is not None}
        for phase in (LeasePhase.BASELINE, LeasePhase.REDUCED, LeasePhase.FRESH):
            if phase in phases:
                return phase
        return LeasePhase.BASELINE

    @property
    def queued(self) -> int:
        """Requests that wait, in all groups."""
        return sum(len(group.queue) for group in self.groups.values())

    def take_window(self) -> Window:
        """The sketches since the last call; a new window starts."""
        window, self.window = self.window, Window()
        return window

    # -- called by the request path

    def model(self, name: str, now: float) -> ModelRuntime | None:
        """The model of this id or alias, made at its first use; None when the catalogue does not know it."""
        found = self.models.get(name)
        if found is not None:
            return found
        model = self.catalogue.model(name)
        if model is None:
            return None
        found = self.models.get(model.id)
        if found is None:
            group = self.group(model.rate_limit_group or DEFAULT_GROUP, now)
            found = ModelRuntime(model, group, self.used_by(model.id), self.breaker_parameters, now)
            found.tokens_per_byte = self.ratios.setdefault(model.tokenizer, found.tokens_per_byte)
            if self.is_draining:
                found.end_connections()
            self.models[model.id] = found
            if self.assignment is not None:
                self._apply_flips(self.assignment)
        return found

    def used_by(self, name: str) -> Used:
        """The account of the model that an answer names, asked for or not."""
        model = self.catalogue.model(name)
        key = UNKNOWN if model is None else model.id
        found = self.ledger.get(key)
        if found is None:
            found = self.ledger[key] = Used(model, self.catalogue.price_rules)
        return found

    def group(self, name: str, now: float) -> GroupRuntime:
        """The group of this name, made at its first use with its baseline."""
        found = self.groups.get(name)
        if found is None:
            found = GroupRuntime(name, self._baseline(name), now)
            found.apply_lease(now, has_controller=self._has_controller)
            self.groups[name] = found
        return found

    def see_organization(self, organization: str, workspace: str) -> None:
        """The API answered for this organisation and workspace; the last few are remembered, the newest as the last."""
        for value, seen in ((organization, self.organization_ids), (workspace, self.workspace_ids)):
            if value and (not seen or next(reversed(seen)) != value):
                seen.pop(value, None)
                seen[value] = None
                if len(seen) > ORGANIZATIONS_MAX:
                    del seen[next(iter(seen))]

    # -- parts

    @property
    def _has_controller(self) -> bool:
        return self.config is not None and self.config.controller is not None

    def _baseline(self, name: str) -> Rates | None:
        """Without a controller: the group's own share, and no more than this proxy's part of the workload's maximum."""
        if self.config is None or name in AUXILIARY:
            return None
        limits = self.config.limits
        share = limits.baseline.get(name)
        if share is None and limits.maximum == ConfigRates():
            return None
        ceiling = _per_minute(limits.maximum).scaled(1.0 / limits.max_replicas)
        if share is None:
            return None if self._has_controller else ceiling
        return _per_minute(share).at_most(ceiling)

    def _own_in_flight(self) -> int:
        """This proxy's part of maxInFlight when nobody says otherwise."""
        if self.config is None or self.config.limits.max_in_flight is None:
            return NO_MAX_IN_FLIGHT
        return max(1, self.config.limits.max_in_flight // self.config.limits.max_replicas)

    def _size_pool(self) -> None:
        """The controller's word, else the configuration's."""
        if self.assignment is not None and self.assignment.connections is not None:
            self.connections = self.assignment.connections
        elif self.config is not None:
            self.connections = self.config.connections.max

    def _apply_limits(self, config: ProxyConfig, now: float) -> None:
        if self.assignment is None or self.assignment.max_in_flight is None:
            self.max_in_flight = self._own_in_flight()
        for group in self.groups.values():
            group.baseline = self._baseline(group.name)
        self.refresh_leases(now)

    def _apply_resilience(self, config: ProxyConfig) -> None:
        rules = config.resilience.breaker
        self.breaker_parameters = BreakerParameters(
            rules.consecutive_throttles, rules.error_percent / 100.0, rules.minimum_requests, rules.window_s, rules.open_for_s
        )
        for model in self.models.values():
            model.breaker.parameters = self.breaker_parameters
            model.policies.clear()
            model.adjustments.clear()
        self.retry_budget.percent = config.resilience.retry.budget_percent

    def _apply_flips(self, assignment: Assignment) -> bool:
        flips = {flip.model: flip.may_probe for flip in assignment.flips}
        has_changed = False
        for model in self.models.values():
            is_flipped = model.id in flips
            has_changed = has_changed or is_flipped != model.is_flipped
            model.is_flipped = is_flipped
            model.may_probe = flips.get(model.id, False)
        return has_changed


def _windows_for(objectives: tuple[Objective, ...], previous: tuple[Objective, ...], windows: list[SloWindow]) -> list[SloWindow]:
    """What was counted stays true for an objective whose threshold stays: how many requests must be within it is no part of the count."""
    kept = {(objective.indicator, objective.threshold_s): window for objective, window in zip(previous, windows, strict=True)}
    return [kept.pop((objective.indicator, objective.threshold_s), SloWindow()) for objective in objectives]


def _per_second(rates: WireRates) -> Rates:
    return Rates(rates.requests, rates.input_tokens, rates.output_tokens)


def _per_minute(rates: ConfigRates) -> Rates:
    return Rates(
        UNLIMITED.requests if rates.requests_per_minute is None else rates.requests_per_minute / 60.0,
        UNLIMITED.input_tokens if rates.input_tokens_per_minute is None else rates.input_tokens_per_minute / 60.0,
        UNLIMITED.output_tokens if rates.output_tokens_per_minute is None else rates.output_tokens_per_minute / 60.0,
    )
