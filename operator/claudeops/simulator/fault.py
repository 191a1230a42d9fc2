"""The fault script: what goes wrong, for whom, for how long. Changeable while the simulator runs."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from claudeops.catalogue import load_catalogue
from claudeops.errors import InvalidResource
from claudeops.simulator.errorbook import NAMES

RefusalCategory = Literal["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"]
MESSAGES_PATH = "/v1/messages"

FaultKind = Literal[
    "throttle",
    "overloaded",
    "error500",
    "stream_error",
    "reset",
    "slow",
    "down",
    "garbage",
    "half_json",
    "big_event",
    "error",
    "refusal",
    "transcript",
    "stall",
    "outside_share",
]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of the script. Without filters it meets every request, for ever; the first fault that matches wins.

    Filters: ``model`` (an id, an alias or a rate-limit group), ``path`` (how the request's path begins; without it only
    ``/v1/messages`` itself, and of ``stall`` the creation of batches), ``client`` (an address, or a network as a.b.c.d/n),
    ``key`` (how the API key ends), ``probability``, ``for_s`` (from when it was set), ``until`` (seconds since the
    epoch), ``count`` (how many requests it meets).
    Parameters: ``retry_after_s`` of a throttle; ``after_events``: how many content events of a stream pass before
    ``stream_error``, ``reset``, ``garbage``, ``half_json`` or ``big_event`` (None: before the first byte of the answer;
    0: after ``message_start``); ``delay_s`` and ``factor`` of ``slow``; ``share`` of ``outside_share``; ``size_bytes``
    of ``big_event``; ``name`` of ``transcript``; ``code`` of ``error``: an error's type or its ``error_code``;
    ``category`` of ``refusal``, which comes before any output, or after ``after_events`` of a stream.
    """

    kind: FaultKind
    model: str | None = None
    path: str | None = None
    client: str | None = None
    key: str | None = None
    probability: float = 1.0
    for_s: float | None = None
    until: float | None = None
    count: int | None = None
    retry_after_s: int = 1
    after_events: int | None = None
    delay_s: float = 0.0
    factor: float = 1.0
    share: float = 0.5
    size_bytes: int = 10 * 1024 * 1024
    name: str | None = None
    code: str | None = None
    category: RefusalCategory | None = None

    def __post_init__(self) -> None:
        if self.model is not None and load_catalogue().model(self.model) is None and self.model not in load_catalogue().groups:
            raise InvalidResource(f"no model or rate-limit group is called {self.model!r}", path="model")
        if not 0 <= self.probability <= 1:
            raise InvalidResource("must be within 0 and 1", path="probability")
        self._check_figures()
        _check_network(self.client)

    def _check_figures(self) -> None:
        if self.share < 0 or self.factor <= 0 or self.delay_s < 0 or self.size_bytes < 0:
            raise InvalidResource("share, delay_s and size_bytes must be at least 0 and factor more than 0", path=self.kind)
        if (self.kind == "error" or self.code is not None) and self.code not in NAMES:
            raise InvalidResource(f"there are the errors {', '.join(NAMES)}", path="code")


def _check_network(client: str | None) -> None:
    try:
        ipaddress.ip_network(client or "0.0.0.0/0", strict=False)
    except ValueError as error:
        raise InvalidResource("must be an address, or a network such as 10.1.0.0/16", path="client") from error


class Subject(msgspec.Struct, frozen=True):
    """What a fault's filters look at."""

    model: str
    group: str | None
    client: str
    key: str
    path: str = MESSAGES_PATH


class ActiveFault(msgspec.Struct):
    """A fault in force, as ``GET /_sim/faults`` shows it. ``ends_at`` in seconds since the epoch."""

    fault: Fault
    ends_at: float | None = None
    hits: int = 0

    def is_over(self, now_s: float) -> bool:
        """Whether its time or its count is used up."""
        if self.ends_at is not None and now_s >= self.ends_at:
            return True
        return self.fault.count is not None and self.hits >= self.fault.count

    def meets(self, subject: Subject) -> bool:
        """Whether the filters (all but chance, time and count) match."""
        fault = self.fault
        if not (subject.path == MESSAGES_PATH or fault.kind == "stall" if fault.path is None else subject.path.startswith(fault.path)):
            return False
        if fault.model is not None and fault.model != subject.group and _resolve(fault.model) != subject.model:
            return False
        if fault.key is not None and not subject.key.endswith(fault.key):
            return False
        return fault.client is None or _is_within(subject.client, fault.client)


class FaultScript:
    """The faults in force, in order."""

    def __init__(self, seed: int) -> None:
        self._active: list[ActiveFault] = []
        self._dice = random.Random(f"faults {seed}")

    @property
    def is_any(self) -> bool:
        """Whether any fault was set and not yet used up."""
        return bool(self._active)

    def replace(self, faults: Iterable[Fault], now_s: float) -> None:
        """Put these faults in force instead of all others, from now (seconds since the epoch) on."""
        self._active = [ActiveFault(fault, ends_at=_end_of(fault, now_s)) for fault in faults]

    def active(self, now_s: float) -> Sequence[ActiveFault]:
        """The faults still in force."""
        if self._active:
            self._active = [active for active in self._active if not active.is_over(now_s)]
        return self._active

    def pick(self, subject: Subject, now_s: float, *, is_stream: bool) -> Fault | None:
        """The fault that this request meets, counted as a hit; None for an ordinary answer."""
        for active in self.active(now_s):
            fault = active.fault
            if fault.kind in ("outside_share", "stall") or (fault.kind == "stream_error" and not is_stream) or not active.meets(subject):
                continue
            if fault.probability >= 1 or self._dice.random() < fault.probability:
                active.hits += 1
                return fault
        return None

    def is_stalled(self, subject: Subject, now_s: float) -> bool:
        """Whether the batch that this request makes is never processed; counted as a hit."""
        for active in self.active(now_s):
            if active.fault.kind == "stall" and active.meets(subject):
                active.hits += 1
                return True
        return False

    def outside_share(self, group: str, now_s: float) -> float:
        """The share of this group's limits that others in the organisation take now."""
        shares = (a.fault.share for a in self.active(now_s) if a.fault.kind == "outside_share" and _names_group(a.fault, group))
        return sum(shares)


def _resolve(name: str) -> str:
    """The model's full id for an id or alias; the name itself when it is neither."""
    model = load_catalogue().model(name)
    return name if model is None else model.id


def _names_group(fault: Fault, group: str) -> bool:
    """Whether the fault's model filter is this group, one of its models, or absent."""
    if fault.model is None or fault.model == group:
        return True
    model = load_catalogue().model(fault.model)
    return model is not None and model.rate_limit_group == group


def _end_of(fault: Fault, now_s: float) -> float | None:
    """When the fault ends, in seconds since the epoch: the earlier of ``until`` and ``for_s`` from now."""
    ends = [end for end in (fault.until, None if fault.for_s is None else now_s + fault.for_s) if end is not None]
    return min(ends, default=None)


def _is_within(address: str, network: str) -> bool:
    """Whether the address lies in the network; an address that cannot be read lies nowhere."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
