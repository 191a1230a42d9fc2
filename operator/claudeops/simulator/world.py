"""What all calls share."""

from __future__ import annotations

import random
from collections.abc import Callable

from claudeops.simulator.call import Call
from claudeops.simulator.config import SimulatorConfig
from claudeops.simulator.diagnosis import DiagnosisBook
from claudeops.simulator.fault import FaultScript
from claudeops.simulator.identity import Identity
from claudeops.simulator.pool import Pools
from claudeops.simulator.promptcache import PromptCache
from claudeops.simulator.reply import Problem, not_found
from claudeops.simulator.spend import SpendBook
from claudeops.simulator.storedfile import StoredFile
from claudeops.simulator.tokendesk import TokenDesk
from claudeops.simulator.transcript import Library
from claudeops.simulator.workspacelimit import WorkspaceBook


class World:
    """What all calls share."""

    __slots__ = (
        "cache",
        "config",
        "diagnoses",
        "faults",
        "find_file",
        "identity",
        "library",
        "monotonic_s",
        "pools",
        "spend",
        "tokens",
        "workspaces",
    )

    def __init__(self, config: SimulatorConfig, faults: FaultScript, pools: Pools, cache: PromptCache) -> None:
        self.config = config
        self.monotonic_s = pools.clock
        self.faults = faults
        self.pools = pools
        self.cache = cache
        self.tokens = TokenDesk(config, pools.clock)
        self.spend = SpendBook(config.spend_limits_usd)
        self.workspaces = WorkspaceBook(config.workspace_limits, config.burst_s, pools.clock)
        self.diagnoses = DiagnosisBook()
        self.find_file: Callable[[Call, str], StoredFile | Problem] = lambda call, name: not_found(f"File not found: {name}")
        self.library = Library(config.transcripts)
        self.identity = Identity(config.seed, config.has_fixed_ids, config.today)

    def pace_dice(self, call: Call) -> random.Random | None:
        """The dice for an answer's length and speed: the call's own when ids are fixed, else the simulator's."""
        return call.dice if self.identity.is_fixed else None


Stage = Callable[[Call, World], Problem | None]
"""A step of a call: it fills in the call, or returns the Problem that ends it."""
