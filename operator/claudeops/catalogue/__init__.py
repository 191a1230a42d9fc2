"""What is known about the Claude API's models, prices, limits and rules: package data behind typed lookups.

Provenance: ``catalogue.json`` states the first-party Claude API as of its ``asOf`` date. Every figure rests on the
vendor's documentation, release notes or SDK, except the fields that a record names in ``unverified`` (dotted paths):
those are assumptions by analogy or third-party price data, to be checked first when reality disagrees.
Prices are written as strings, so that they are read as exact decimals.

The module is light on purpose (no YAML, no pydantic): the data plane imports it at start.
"""

from claudeops.catalogue.lookup import Catalogue, load_catalogue
from claudeops.catalogue.model import Model, ParameterRule, PriceRules, Prices, RateLimits, SamplingRule, ThinkingRule

__all__ = ["Catalogue", "Model", "ParameterRule", "PriceRules", "Prices", "RateLimits", "SamplingRule", "ThinkingRule", "load_catalogue"]
