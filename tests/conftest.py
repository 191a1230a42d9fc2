"""How the tests are shared out when several processes run them (`make test`: pytest-xdist, ``--dist loadscope``).

A module is run by one process, in order; all modules that share the cluster, too.
"""

import gc
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# The same examples each time, however slow the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: the garbage collector need not walk through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


SHARED, OWN = "tests/cluster/", "tests/cluster/test_demo.py"
"""What shares one cluster, and what has one to itself and need not wait."""


class ByModule(LoadScopeScheduling):
    """Modules in the order of their names, the long `cluster` among the first; its modules are one."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return SHARED if path.startswith(SHARED) and path != OWN else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByModule:
    """Used in place of `--dist`'s own."""
    config.option.loadscopereorder = False
    return ByModule(config, log)
