"""Addresses of the API, and the map of foreign errors."""

import json

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException
from tests.unit.table import every

from claudeops.controller.kind import DEPLOYMENT, NAMESPACE, POD, QUOTA, WORKLOAD, Kind, Ref
from claudeops.controller.kube import FOREIGN_ERRORS, map_error
from claudeops.errors import ClusterError, Conflict, Forbidden, NotFound, Unreachable


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "path"),
    [
        (POD, "", "", "/api/v1/pods"),
        (POD, "shop", "", "/api/v1/namespaces/shop/pods"),
        (POD, "shop", "a", "/api/v1/namespaces/shop/pods/a"),
        (NAMESPACE, "", "shop", "/api/v1/namespaces/shop"),
        (WORKLOAD, "shop", "bot", "/apis/claudeops.dev/v1alpha1/namespaces/shop/claudeworkloads/bot"),
        (QUOTA, "", "prod", "/apis/claudeops.dev/v1alpha1/claudequotas/prod"),
    ],
)
def test_paths_are_those_of_the_api(kind: Kind, namespace: str, name: str, path: str) -> None:
    assert kind.path(namespace, name) == path


def test_a_subresource_comes_last_and_names_cannot_leave_their_place() -> None:
    assert Ref(DEPLOYMENT, "shop", "bot").path("scale").endswith("/deployments/bot/scale")
    assert ".." not in Ref(POD, "shop", "../../nodes").path().replace("..%2F", "")
    assert "/nodes" not in Ref(POD, "shop", "../../nodes").path()


@every(
    ("status", "expected"),
    [
        (400, ClusterError),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (405, ClusterError),
        (408, Unreachable),
        (409, Conflict),
        (410, NotFound),
        (422, ClusterError),
        (429, Unreachable),
        (500, Unreachable),
        (503, Unreachable),
        (0, Unreachable),
    ],
)
def test_every_status_has_its_error(status: int, expected: type[ClusterError]) -> None:
    error = map_error(ApiException(status=status, reason="why"), what="GET /x")
    assert type(error) is expected
    assert str(error).startswith("GET /x: ")


def test_the_map_is_total_over_statuses() -> None:
    for status in range(300, 600):
        assert isinstance(map_error(ApiException(status=status, reason="why"), what="x"), ClusterError), status


@every(
    ("error", "expected"),
    [
        (aiohttp.ClientConnectionError("refused"), Unreachable),
        (aiohttp.ClientPayloadError("cut"), Unreachable),
        (aiohttp.ServerTimeoutError("late"), Unreachable),
        (TimeoutError(), Unreachable),
        (ConnectionResetError("reset"), Unreachable),
        (OSError(113, "no route"), Unreachable),
        (json.JSONDecodeError("garbage", "x", 0), Unreachable),
        (ConfigException("no file"), ClusterError),
    ],
)
def test_every_foreign_error_has_its_own(error: Exception, expected: type[ClusterError]) -> None:
    assert isinstance(error, FOREIGN_ERRORS)
    assert type(map_error(error, what="x")) is expected


def test_the_servers_own_words_are_in_the_message() -> None:
    body = json.dumps({"kind": "Status", "message": "pods is forbidden: no right"})
    assert "pods is forbidden: no right" in str(map_error(ApiException(status=403, reason="Forbidden", body=body), what="x"))
