"""`make demo CONTEXT=...` on somebody's own cluster: what is there already is not touched."""

import pytest
from tests.cluster.kubernetes import Cluster
from tools.demo.__main__ import KEPT, _context_access
from tools.demo.access import DemoError

pytestmark = pytest.mark.cluster


def complaint(context: str) -> str:
    """Why the demonstration does not run there; empty if it would."""
    try:
        _context_access(context)
    except DemoError as error:
        return str(error)
    return ""


def test_a_namespace_that_is_there_is_not_taken_over_but_by_the_next_demonstration(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cluster.layout is None:
        pytest.skip("a namespace of that name may be somebody's own")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("PATH", f"{cluster.kubectl_path.parent}:/usr/bin:/bin")
    context = cluster.kubectl("config", "current-context").strip()
    with cluster.namespace("shop"):
        said = complaint(context)
        assert "shop" in said and "use another cluster" in said
        cluster.kubectl("label", "namespace", "shop", KEPT)
        assert "shop" not in complaint(context)
