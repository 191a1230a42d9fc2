"""What was used of each model, as tokens by the terms of their price; money is worked out when somebody asks.

The request path only adds plain integers. A model is one of the catalogue's, or :data:`UNKNOWN` for all others together: names that
the API or a client chooses must not grow anything.
"""

from __future__ import annotations

from functools import reduce
from typing import Final

from claudeops.catalogue import Model, PriceRules
from claudeops.catalogue.price import STANDARD, Rates, Terms, Tokens, cost_of, rates_of, web_search_pico

UNKNOWN: Final = "other"
LONG: Final = Terms(is_long=True)
NO_MODEL: Final = "model"
NO_TERMS: Final = "terms"
NO_USAGE: Final = "usage"
"""Why the cost of an answer is not known: its model is none of the catalogue's, no price is published for its terms, it does not say
what it used."""


class Account:
    """Tokens that cost the same."""

    __slots__ = ("cache_read", "input", "output", "write_1h", "write_5m")

    def __init__(self) -> None:
        self.input = self.output = self.cache_read = self.write_5m = self.write_1h = 0

    def add(self, tokens: Tokens) -> None:
        """Book these."""
        self.input += tokens.input
        self.output += tokens.output
        self.cache_read += tokens.cache_read
        self.write_5m += tokens.cache_write_5m
        self.write_1h += tokens.cache_write_1h

    def tokens(self) -> Tokens:
        """All that was booked."""
        return Tokens(self.input, self.output, self.cache_read, self.write_5m, self.write_1h)


class Used:
    """Everything that answers of one model have used since the process began. Only grows."""

    __slots__ = ("_rules", "accounts", "guessed", "long", "model", "shared", "standard", "unbilled", "unknown", "web_searches")

    def __init__(self, model: Model | None, rules: PriceRules) -> None:
        self._rules = rules
        self.model = model
        """None: the models that the catalogue does not know."""
        self.standard = Account()
        self.long = Account()
        self.accounts: dict[Terms, Account] = {STANDARD: self.standard, LONG: self.long}
        self.unbilled = Account()
        """Of refusals that the API does not bill; its limits count them all the same."""
        self.guessed = Account()
        """The part of all the others that is an estimate, because the answer broke off before it said what it used."""
        self.shared = Account()
        """What those used nothing of who shared the call of another (single flight)."""
        self.web_searches = 0
        self.unknown: dict[str, int] = {}
        """Cause (``NO_MODEL``, ``NO_TERMS``, ``NO_USAGE``) → answers of unknown cost, which are in no sum of money."""

    def account(self, terms: Terms) -> Account:
        """The account of these terms."""
        found = self.accounts.get(terms)
        if found is None:
            found = self.accounts[terms] = Account()
        return found

    def rates(self, terms: Terms) -> Rates | None:
        """What a token costs; None when it is not known."""
        return None if self.model is None else rates_of(self.model, self._rules, terms)

    def count_unknown(self, cause: str) -> None:
        """One answer whose cost is not known."""
        self.unknown[cause] = self.unknown.get(cause, 0) + 1

    def tokens(self) -> Tokens:
        """By kind, under all terms."""
        return reduce(Tokens.plus, (account.tokens() for account in (*self.accounts.values(), self.unbilled)))

    def cost_pico(self) -> dict[str, int]:
        """Picodollars by kind of token, and of web searches. Answers counted in ``unknown`` are not in it."""
        priced = ((account, self.rates(terms)) for terms, account in self.accounts.items())
        costs = (cost_of(account.tokens(), rates) for account, rates in priced if rates is not None)
        total = reduce(Tokens.plus, costs, Tokens())
        return {**total._asdict(), "web_search": self.web_searches * web_search_pico(self._rules)}

    def saved_pico(self) -> int:
        """What the reads of the prompt cache would have cost more as plain input."""
        priced = ((account, self.rates(terms)) for terms, account in self.accounts.items())
        return sum(account.cache_read * (rates.input - rates.cache_read) for account, rates in priced if rates is not None)

    def shared_pico(self) -> int:
        """What they would have cost by themselves, at standard terms."""
        rates = self.rates(STANDARD)
        return 0 if rates is None else sum(cost_of(self.shared.tokens(), rates))
