"""What each organisation and workspace has spent this month, and the limits on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from claudeops.catalogue import Model, load_catalogue
from claudeops.catalogue.price import PICO_PER_USD, Rates, Terms, rates_of, usd
from claudeops.simulator.config import Account
from claudeops.simulator.content import Service
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.reply import Problem, invalid

USAGE_TIER = "usage_tier"
CONTRACT = "contract"
ORGANIZATION = "organization"
WORKSPACE_PREFIX = "workspace:"


@lru_cache(maxsize=1024)
def _rates(model_id: str, is_long: bool, service: Service) -> Rates | None:
    """Picodollars a token; None where no price is published."""
    model = load_catalogue().model(model_id)
    terms = Terms(is_long, service.inference_geo == "us", service.speed == "fast", service.tier == "batch")
    return None if model is None else rates_of(model, load_catalogue().price_rules, terms)


def price_pico(model: Model, use: InputUse, output_tokens: int, service: Service) -> int:
    """What an answer costs, in picodollars; 0 where no price is published."""
    long = model.long_context
    rates = _rates(model.id, long is not None and use.total > long.threshold_tokens, service)
    if rates is None:
        return 0
    cached = use.read * rates.cache_read + use.written_5m * rates.cache_write_5m + use.written_1h * rates.cache_write_1h
    return use.uncached * rates.input + output_tokens * rates.output + cached


class SpendBook:
    """Month-to-date spend against ``limits``: USD a calendar month (UTC), the same for every organisation.

    Scopes: ``usage_tier`` (the cap of the tier, 429), ``contract`` (429), ``organization`` (set by the customer, 400) and
    ``workspace:NAME`` (likewise).
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.limits = dict(limits)
        self._spent: defaultdict[tuple[str, str], int] = defaultdict(int)

    def book(self, account: Account, pico: int) -> None:
        """Somebody spent this."""
        self._spent[account.organization, account.workspace] += pico

    def spent_usd(self) -> dict[str, float]:
        """What each organisation spent, in USD."""
        totals: defaultdict[str, int] = defaultdict(int)
        for (organization, _), pico in self._spent.items():
            totals[organization] += pico
        return {organization: float(usd(pico)) for organization, pico in totals.items()}

    def spent_usd_of(self, account: Account, scope: str) -> float:
        """What counts toward this scope's limit, in USD."""
        if scope.startswith(WORKSPACE_PREFIX):
            return float(usd(self._spent[account.organization, account.workspace]))
        return self.spent_usd().get(account.organization, 0.0)

    def reset(self) -> None:
        """A new month."""
        self._spent.clear()

    def refusal(self, account: Account, now_s: float) -> Problem | None:
        """The documented refusal when a limit is reached; None below all of them."""
        if not self.limits:
            return None
        organization = sum(pico for (name, _), pico in self._spent.items() if name == account.organization)
        workspace = self._spent[account.organization, account.workspace]
        spent = {
            USAGE_TIER: organization,
            CONTRACT: organization,
            ORGANIZATION: organization,
            WORKSPACE_PREFIX + account.workspace: workspace,
        }
        reached = next((scope for scope, limit in self.limits.items() if scope in spent and spent[scope] >= limit * PICO_PER_USD), None)
        return None if reached is None else spend_problem(reached, now_s)


def spend_problem(scope: str, now_s: float) -> Problem:
    """How the API refuses when the limit of this scope is reached. A cap of the tier or the contract has no ``retry-after``."""
    until = f"You will regain access on {_next_month(now_s)} at 00:00 UTC."
    if scope == USAGE_TIER:
        message = (
            "You have reached your API usage limits: your organization has crossed its monthly API usage threshold, "
            f"set based on your organization's API tier. {until}"
        )
        return Problem(429, "rate_limit_error", message, details={"error_code": "enforced_spend_limit_reached"})
    if scope == CONTRACT:
        message = f"You have reached your API usage limits: your organization has reached its contract's spend limit. {until}"
        return Problem(429, "rate_limit_error", message, details={"error_code": "contract_spend_limit_reached"})
    whose = "workspace API" if scope.startswith(WORKSPACE_PREFIX) else "API"
    return invalid(f"You have reached your specified {whose} usage limits. {until}")


def _next_month(now_s: float) -> str:
    today = datetime.fromtimestamp(now_s, UTC)
    year, month = (today.year + 1, 1) if today.month == 12 else (today.year, today.month + 1)
    return f"{year}-{month:02d}-01"
