"""A request's sampling parameters held against its model's law and its workload's profile.

Order (resources design, "Sampling"): what the model does not take is left out; the rest is held against the profile's
bounds and then the policy's; defaults are added where the client was silent and the result is legal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from claudeops.catalogue.lookup import EFFORT_LEVELS
from claudeops.catalogue.model import ParameterRule
from claudeops.policy.legality import ModelRules, effort_cap, illegal_sampling, is_thinking, legal_thinking, legal_value, nearest_level

REMOVE: Final = b""
"""An edit that leaves the parameter out."""
_THINKING_WISHES: Final = {"Off": "disabled", "Adaptive": "adaptive", "Budget": "enabled"}


@dataclass(frozen=True, slots=True)
class Bound:
    """A default and a closed range; absent is no default, no bound."""

    default: float | None = None
    min: float | None = None
    max: float | None = None

    def nearest(self, value: float) -> float:
        """`value`, moved into the range."""
        if self.min is not None and value < self.min:
            return self.min
        if self.max is not None and value > self.max:
            return self.max
        return value


@dataclass(frozen=True, slots=True)
class Profile:
    """A sampling profile as it holds for one workload. `hard_*` are the policies' bounds, which always clamp.

    `on_violation`: Clamp, Reject or Warn. `effort_allowed` empty: all. `thinking_mode`: Off, Adaptive, Budget, or None.
    """

    on_violation: str = "Clamp"
    temperature: Bound = field(default_factory=Bound)
    top_p: Bound = field(default_factory=Bound)
    max_tokens: Bound = field(default_factory=Bound)
    prefer_top_p: bool = False
    effort_default: str | None = None
    effort_allowed: tuple[str, ...] = ()
    thinking_mode: str | None = None
    thinking_budget_tokens: int | None = None
    hard_temperature: Bound = field(default_factory=Bound)
    hard_top_p: Bound = field(default_factory=Bound)
    hard_max_tokens: Bound = field(default_factory=Bound)


KNOWN_MAX = 512
NONSENSE_TOKENS = -1.0e15
"""JSON has integers that no float holds: the API refuses all below this alike."""
WORDS_MAX = 32
"""Longer words are the client's nonsense: not worth remembering."""


class Asked:
    """What the client's body says. `thinking`: its `type`. `can_think` is False where forced tools or a prefill forbid to add it."""

    __slots__ = ("budget_tokens", "can_think", "effort", "max_tokens", "temperature", "thinking", "top_k", "top_p")

    def __init__(self, max_tokens: float | None = None) -> None:
        self.max_tokens = max_tokens
        self.temperature: float | None = None
        self.top_p: float | None = None
        self.top_k: float | None = None
        self.effort: str | None = None
        self.thinking: str | None = None
        self.budget_tokens: float | None = None
        self.can_think = True


class Adjustments:
    """What to do to the body.

    `edits`: dotted path → new JSON value, or REMOVE. Paths: temperature, top_p, top_k, max_tokens, thinking,
    thinking.type, thinking.budget_tokens, output_config.effort. `names`: what was clamped or left out, for
    `x-claudeops-adjusted` (added defaults are not). `warnings`: what passed although out of bounds. `violation`: refuse
    with this message; then nothing else counts.
    """

    __slots__ = ("edits", "is_plain", "names", "violation", "warnings")

    def __init__(self) -> None:
        self.edits: dict[str, bytes] = {}
        self.names: list[str] = []
        self.warnings: list[str] = []
        self.violation: str | None = None
        self.is_plain = False
        """The request passes as it is, and nothing is to be said of it."""

    def edit(self, path: str, value: bytes, name: str | None = None) -> None:
        """Set or remove a parameter; `name` if that counts as an adjustment."""
        self.edits[path] = value
        if name is not None and name not in self.names:
            self.names.append(name)


class SamplingPolicy:
    """One model's rules and one profile, compiled. Keep one per (model, version); `adjust` is pure."""

    __slots__ = ("known", "profile", "rules")

    def __init__(self, rules: ModelRules, profile: Profile) -> None:
        self.rules = rules
        self.profile = profile
        self.known: dict[tuple[object, ...], Adjustments] = {}
        """Answers of before: an application asks the same again and again."""

    def adjust(self, asked: Asked) -> Adjustments:
        """What this request needs. Do not change the answer: it is shared by all that ask the same."""
        key = (
            asked.max_tokens,
            asked.temperature,
            asked.top_p,
            asked.top_k,
            asked.effort,
            asked.thinking,
            asked.budget_tokens,
            asked.can_think,
        )
        found = self.known.get(key)
        if found is None:
            found = self._adjust(asked)
            if len(asked.effort or "") + len(asked.thinking or "") <= WORDS_MAX:
                if len(self.known) >= KNOWN_MAX:
                    self.known.clear()
                self.known[key] = found
        return found

    def _adjust(self, asked: Asked) -> Adjustments:
        out = Adjustments()
        kind = self._thinking(asked, out)
        self._effort(asked, kind, out)
        max_tokens = self._max_tokens(asked, out)
        if kind == "enabled":
            kind = self._fit_budget(asked, max_tokens, out)
        self._sampling(asked, kind, out)
        out.is_plain = not out.edits and not out.warnings and out.violation is None
        return out

    def _thinking(self, asked: Asked, out: Adjustments) -> str | None:
        """Settle `thinking`; returns the type that will be sent."""
        rule = self.rules.thinking
        if asked.thinking is None:
            return self._default_thinking(out) if asked.can_think else None
        kind = legal_thinking(rule, asked.thinking)
        if kind == asked.thinking:
            return kind
        if kind is None:
            out.edit("thinking", REMOVE, "thinking")
        else:
            out.edit("thinking.type", _word(kind), "thinking")
            if asked.budget_tokens is not None:
                out.edit("thinking.budget_tokens", REMOVE, "thinking")
        return kind

    def _default_thinking(self, out: Adjustments) -> str | None:
        """The profile's mode, for a client that was silent: only what differs from the model's own default is sent."""
        budget = self.profile.thinking_budget_tokens
        kind = self._wished_thinking(budget)
        if kind is None:
            return None
        if kind == "enabled" and budget is not None:
            out.edit("thinking", b'{"type":"enabled","budget_tokens":%d}' % max(budget, self.rules.min_budget_tokens))
        else:
            out.edit("thinking", b'{"type":%s}' % _word(kind))
        return kind

    def _wished_thinking(self, budget: int | None) -> str | None:
        """The type to add for the profile's mode; None where that is what the model does anyway, or cannot do."""
        rule = self.rules.thinking
        wish = _THINKING_WISHES.get(self.profile.thinking_mode or "")
        if wish is None:
            return None
        kind = legal_thinking(rule, wish)
        if kind is None and wish == "adaptive" and "enabled" in rule.accepts:
            kind = "enabled"
        if kind == "enabled" and budget is None:
            return None
        is_default = kind == "disabled" if rule.default == "off" else kind == "adaptive"
        return None if is_default else kind

    def _effort(self, asked: Asked, kind: str | None, out: Adjustments) -> None:
        levels, profile = self.rules.effort_levels, self.profile
        if levels is None:
            return
        wish = asked.effort if asked.effort is not None else profile.effort_default
        if wish is None:
            return
        if not levels:
            if asked.effort is not None:
                out.edit("output_config.effort", REMOVE, "effort")
            return
        level = self._bounded_effort(wish, asked.effort is not None, out)
        usable = _up_to(effort_cap(self.rules.thinking, kind), levels)
        level = nearest_level(level, usable)
        if level != asked.effort:
            out.edit("output_config.effort", _word(level), "effort" if asked.effort is not None else None)

    def _bounded_effort(self, wish: str, is_asked: bool, out: Adjustments) -> str:
        allowed = self.profile.effort_allowed
        levels = self.rules.effort_levels or ()
        legal = nearest_level(wish, levels)
        if not allowed or legal in allowed:
            return legal
        if is_asked and self._is_violation("effort", f"effort {legal} is not among the allowed {', '.join(allowed)}", out):
            return legal
        return nearest_level(legal, [level for level in allowed if level in levels] or allowed)

    def _max_tokens(self, asked: Asked, out: Adjustments) -> float | None:
        profile = self.profile
        value: float
        if asked.max_tokens is None:
            if profile.max_tokens.default is None:
                return None
            value = profile.max_tokens.nearest(profile.max_tokens.default)
        else:
            value = float(min(max(asked.max_tokens, NONSENSE_TOKENS), self.rules.max_output_tokens))
            value = self._bounded("max_tokens", value, profile.max_tokens, out)
        value = min(profile.hard_max_tokens.nearest(value), float(self.rules.max_output_tokens))
        if value != asked.max_tokens:
            out.edit("max_tokens", b"%d" % int(value), "max_tokens" if asked.max_tokens is not None else None)
        return value

    def _fit_budget(self, asked: Asked, max_tokens: float | None, out: Adjustments) -> str | None:
        """`budget_tokens` must lie in [minimum, max_tokens); where nothing fits, thinking is left out."""
        is_ours = asked.thinking is None
        budget = self.profile.thinking_budget_tokens if is_ours else asked.budget_tokens
        if budget is None or max_tokens is None or self.rules.min_budget_tokens <= budget < max_tokens:
            return "enabled"
        fitted = min(max(budget, self.rules.min_budget_tokens), int(max_tokens) - 1)
        name = None if is_ours else "thinking"
        if fitted < self.rules.min_budget_tokens:
            if is_ours:
                del out.edits["thinking"]
            else:
                out.edit("thinking", REMOVE, name)
            return None
        if is_ours:
            out.edit("thinking", b'{"type":"enabled","budget_tokens":%d}' % fitted)
        else:
            out.edit("thinking.budget_tokens", b"%d" % fitted, name)
        return "enabled"

    def _sampling(self, asked: Asked, kind: str | None, out: Adjustments) -> None:
        profile = self.profile
        rule = self.rules.sampling.under_thinking(is_thinking(self.rules.thinking, kind))
        temperature, top_p = asked.temperature, asked.top_p
        if temperature is None and top_p is None:
            if asked.top_k is not None and not rule.top_k.admits(asked.top_k):
                out.edit("top_k", REMOVE, "top_k")
            self._default_sampling(kind, out)
            return
        removed = illegal_sampling(rule, temperature=temperature, top_p=top_p, top_k=asked.top_k, prefer_top_p=profile.prefer_top_p)
        for name in removed:
            out.edit(name, REMOVE, name)
        if temperature is not None and "temperature" not in removed:
            self._keep("temperature", temperature, rule.temperature, out)
        if top_p is not None and "top_p" not in removed:
            self._keep("top_p", top_p, rule.top_p, out)

    def _keep(self, name: str, asked: float, rule: ParameterRule, out: Adjustments) -> None:
        """A legal parameter against the bounds; left out if what the bounds make of it is not legal."""
        profile = self.profile
        bound, hard = (profile.temperature, profile.hard_temperature) if name == "temperature" else (profile.top_p, profile.hard_top_p)
        legal = legal_value(rule, asked)
        value = hard.nearest(self._bounded(name, asked if legal is None else legal, bound, out))
        if not rule.admits(value):
            out.edit(name, REMOVE, name)
        elif value != asked:
            out.edit(name, _number(value), name)

    def _default_sampling(self, kind: str | None, out: Adjustments) -> None:
        """Add the profile's default, the preferred parameter first; both only where the model takes both."""
        profile = self.profile
        rule = self.rules.sampling.under_thinking(is_thinking(self.rules.thinking, kind))
        wishes = [
            ("temperature", rule.temperature, profile.temperature, profile.hard_temperature),
            ("top_p", rule.top_p, profile.top_p, profile.hard_top_p),
        ]
        for name, parameter, bound, hard in reversed(wishes) if profile.prefer_top_p else wishes:
            if bound.default is None:
                continue
            value = hard.nearest(bound.nearest(bound.default))
            if parameter.admits(value):
                out.edit(name, _number(value))
                if rule.is_exclusive:
                    return

    def _bounded(self, name: str, value: float, bound: Bound, out: Adjustments) -> float:
        """`value` in the profile's bounds, or as it is when the profile rejects or only warns."""
        nearest = bound.nearest(value)
        if nearest == value:
            return value
        side, limit = ("maximum", bound.max) if value > nearest else ("minimum", bound.min)
        message = f"{name} {value:g} is beyond the {side} {limit:g} of this workload's sampling profile; send {limit:g}"
        return value if self._is_violation(name, message, out) else nearest

    def _is_violation(self, name: str, message: str, out: Adjustments) -> bool:
        """Note it by the profile's mode; False means clamp."""
        if self.profile.on_violation == "Reject":
            out.violation = out.violation or message
            return True
        if self.profile.on_violation == "Warn":
            out.warnings.append(name)
            return True
        return False


def _word(value: str) -> bytes:
    return b'"%s"' % value.encode()


def _number(value: float) -> bytes:
    return repr(float(value)).encode()


def _up_to(cap: str | None, levels: tuple[str, ...]) -> tuple[str, ...]:
    if cap is None:
        return levels
    order: tuple[str, ...] = EFFORT_LEVELS
    highest = order.index(cap)
    return tuple(level for level in levels if order.index(level) <= highest)
