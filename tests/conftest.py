"""How the tests are shared out when several processes run them (`make test`: pytest-xdist, ``--dist loadgroup``).

A group is run by one process, in order: what shares a cluster, a simulator or a measurement stays together.
"""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
OWN_CLUSTER = ("test_demo",)
"""Modules whose clusters are their own: they need not wait for those that share one."""


def group_of(path: Path) -> str:
    """The folder's, but for what brings a cluster of its own."""
    parts = path.relative_to(FOLDER).parts
    return path.stem if path.stem in OWN_CLUSTER else parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long groups first: `tests/cluster` leads by its name already."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
