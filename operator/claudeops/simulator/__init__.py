"""A strict, fast stand-in for the Claude API: for tests, demos and capacity planning.

In a test::

    async with Simulator(SimulatorConfig(speed=1000)) as simulator:
        simulator.set_faults([Fault("overloaded", count=3)])
        ...                                   # point a client at simulator.url with a key sk-ant-sim-…
        assert simulator.stats().by_code["200"] == 1
"""

from claudeops.simulator.config import Account, SimulatorConfig
from claudeops.simulator.fault import Fault
from claudeops.simulator.pool import LimitsChange
from claudeops.simulator.referee import GroupStats, LoggedRequest, Stats
from claudeops.simulator.server import Simulator

__all__ = ["Account", "Fault", "GroupStats", "LimitsChange", "LoggedRequest", "Simulator", "SimulatorConfig", "Stats"]
