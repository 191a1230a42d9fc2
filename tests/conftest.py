"""How the tests are shared out when several processes run them (`make test`: pytest-xdist, ``--dist loadscope``).

A group is run by one process, in order: what shares a cluster, a simulator or a measurement stays together.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

OWN_CLUSTER = "tests/cluster/test_demo.py"
"""Its cluster is its own: it need not wait for those that share one."""


class ByFolder(LoadScopeScheduling):
    """The folders of `tests` in the order of their names, so that the longest, `cluster`, comes first."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return path if path == OWN_CLUSTER else "/".join(path.split("/")[:2])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    """Used in place of `--dist`'s own."""
    config.option.loadscopereorder = False
    return ByFolder(config, log)
