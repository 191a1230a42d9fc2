"""A message batch held against the workload's policy, item by item, while it is on its way.

Nothing of a batch can be put right, since its bytes have gone on before its end is known: what a single request would have clamped,
left out or replaced is a violation here. The first one refuses the whole batch and names the item.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import replace

from claudeops.policy.sampling import Adjustments, Asked, SamplingPolicy
from claudeops.sidecar.answer import Answer
from claudeops.sidecar.batch_reader import BatchReader, NotABatch
from claudeops.sidecar.model import PRIMARY, ModelRuntime
from claudeops.sidecar.rules import model_rules, profile_of
from claudeops.sidecar.runtime import Runtime
from claudeops.sidecar.wireformat import UNREADABLE, BatchItemJson, BatchParamsJson, decode_batch_item

ITEMS_MAX = 100_000
ID_MAX_LENGTH = 64
_CUSTOM_ID = re.compile("[a-zA-Z0-9_-]{1,64}")


class BatchInspector:
    """Fed with the body's parts in order; the first refusal is the last word."""

    __slots__ = ("api_version", "policies", "reader", "runtime", "seen")

    def __init__(self, runtime: Runtime, api_version: str | None) -> None:
        self.runtime = runtime
        self.api_version = api_version
        self.reader = BatchReader()
        self.seen = SeenIds()
        self.policies: dict[str, tuple[ModelRuntime, SamplingPolicy]] = {}

    def feed(self, data: bytes) -> Answer | None:
        """Refuses what may not go on."""
        index = self.reader.count
        try:
            for item in self.reader.feed(data):
                answer = self._inspect(item, index)
                if answer is not None:
                    return answer
                index += 1
        except NotABatch as problem:
            return Answer("bad_request", str(problem))
        return None

    def end(self) -> Answer | None:
        """The body is whole."""
        try:
            self.reader.end()
        except NotABatch as problem:
            return Answer("bad_request", str(problem))
        return None

    def _inspect(self, raw: bytes, index: int) -> Answer | None:
        try:
            item = decode_batch_item(raw)
        except UNREADABLE as error:
            return Answer("bad_request", f"requests.{index}: {error}")
        where = f'requests.{index} (custom_id "{item.custom_id[:ID_MAX_LENGTH]}")'
        problem = self._problem(item, index)
        if problem:
            return Answer("bad_request", f"{where}: {problem}")
        found = self.policies.get(item.params.model) or self._policy(item.params.model)
        if found is None:
            names = ", ".join(model.id for model in self.runtime.tiers)
            name = item.params.model[:ID_MAX_LENGTH]
            return Answer("policy", f"{where}: this workload may not use model {name!r}: name one of {names}", status=403)
        model, policy = found
        return self._hold(item.params, model, policy.adjust(_asked(item.params)), where)

    def _problem(self, item: BatchItemJson, index: int) -> str:
        """What the API itself refuses in a batch (reference anthropic-api, section 10); empty if nothing."""
        params = item.params
        if index >= ITEMS_MAX:
            return f"a batch has at most {ITEMS_MAX} requests"
        if _CUSTOM_ID.fullmatch(item.custom_id) is None:
            return "custom_id must match ^[a-zA-Z0-9_-]{1,64}$"
        if not self.seen.add(item.custom_id):
            return "custom_id must be unique within the batch"
        if params.stream:
            return "params.stream: a batch does not stream"
        if params.max_tokens == 0:
            return "params.max_tokens: must be at least 1 in a batch"
        for name, value in (("speed", params.speed), ("fallbacks", params.fallbacks)):
            if len(value):
                return f"params.{name}: not supported in a batch"
        return ""

    def _policy(self, name: str) -> tuple[ModelRuntime, SamplingPolicy] | None:
        """The model of this name, and its policy with nothing to be clamped; None where the workload may not use it."""
        runtime = self.runtime
        config = runtime.config
        assert config is not None
        model = runtime.model(name, runtime.clock())
        choice = config.model.client_choice
        allowed = runtime.tiers if choice == "Listed" else runtime.tiers[:1]
        if model is None or (choice != "Allowed" and model not in allowed):
            return None
        profile = profile_of(config.sampling)
        if profile.on_violation == "Clamp":
            profile = replace(profile, on_violation="Reject")
        found = model, SamplingPolicy(model_rules(runtime.catalogue, model.model, self.api_version), profile)
        self.policies[name] = found
        return found

    def _hold(self, params: BatchParamsJson, model: ModelRuntime, result: Adjustments, where: str) -> Answer | None:
        if result.violation is not None:
            return Answer("policy", f"{where}: {result.violation}")
        if result.names:
            version = self.api_version or "this version"
            names = ", ".join(result.names)
            return Answer("policy", f"{where}: {model.id} under anthropic-version {version} does not take {names} as sent: change it")
        warned = model.counters[PRIMARY].warned
        for name in result.warnings:
            warned[name] = warned.get(name, 0) + 1
        return None


def _asked(params: BatchParamsJson) -> Asked:
    asked = Asked(params.max_tokens)
    asked.can_think = False  # nothing is added
    asked.temperature, asked.top_p, asked.top_k = params.temperature, params.top_p, params.top_k
    if params.thinking is not None:
        asked.thinking, asked.budget_tokens = params.thinking.type, params.thinking.budget_tokens
    if params.output_config is not None:
        asked.effort = params.output_config.effort
    return asked


class SeenIds:
    """Which ids have been seen, by their 64-bit hashes in one flat table: 100,000 take 2 MiB instead of 15 as strings in a set. That
    two of 100,000 different ids are taken for one happens once in three thousand million batches."""

    __slots__ = ("count", "slots")

    def __init__(self) -> None:
        self.count = 0
        self.slots = array("q", bytes(8 * 1024))

    def add(self, name: str) -> bool:
        """False if it was there."""
        if not self._put(hash(name) or 1):
            return False
        self.count += 1
        if self.count * 3 > len(self.slots) * 2:
            old, self.slots = self.slots, array("q", bytes(len(self.slots) * 16))
            for key in old:
                if key:
                    self._put(key)
        return True

    def _put(self, key: int) -> bool:
        slots = self.slots
        mask = len(slots) - 1
        at = key & mask
        while slots[at]:
            if slots[at] == key:
                return False
            at = (at + 1) & mask
        slots[at] = key
        return True
