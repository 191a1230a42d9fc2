"""What a TokenReview and a pod say about who speaks."""

import base64
import json
from typing import Any

import pytest

from claudeops.controller.identity import BoundPod, expiry_of, read_pod, read_review
from claudeops.exchange import TOKEN_AUDIENCE
from claudeops.fleet import Denied, Identity
from claudeops.proxyconfig import WorkloadKey

BOUND = BoundPod("shop", "bot-1", "uid-1")
EXTRA = {"authentication.kubernetes.io/pod-name": ["bot-1"], "authentication.kubernetes.io/pod-uid": ["uid-1"]}


def review(**changes: Any) -> dict[str, Any]:
    user = {"username": "system:serviceaccount:shop:default", "extra": EXTRA}
    return {"authenticated": True, "audiences": [TOKEN_AUDIENCE], "user": user, **changes}


def pod(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "bot-1", "namespace": "shop", "uid": "uid-1", "labels": {"claudeops.dev/workload": "bot"}, **metadata}}


def test_a_bound_token_of_our_audience_names_its_pod() -> None:
    assert read_review(review()) == BOUND


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"authenticated": False, "error": "expired"}, "expired"),
        ({"audiences": []}, "audience"),
        ({"audiences": ["https://kubernetes.default.svc"]}, "audience"),
        ({"user": {"username": "system:serviceaccount:shop:default"}}, "not bound to a pod"),
        ({"user": {"username": "admin", "extra": EXTRA}}, "not bound to a pod"),
    ],
)
def test_any_other_token_is_denied_for_good(changes: dict[str, Any], words: str) -> None:
    denied = read_review(review(**changes))
    assert isinstance(denied, Denied) and words in denied.message and not denied.is_retryable


def test_the_pods_label_and_namespace_are_the_workload_and_its_uid_the_instance() -> None:
    assert read_pod(pod(), BOUND) == Identity("uid-1", WorkloadKey(namespace="shop", name="bot"))


@pytest.mark.parametrize("metadata", [{"uid": "uid-2"}, {"labels": {}}, {"labels": {"app": "bot"}}])
def test_another_pod_of_the_name_or_one_without_the_label_is_denied(metadata: dict[str, Any]) -> None:
    assert isinstance(read_pod(pod(**metadata), BOUND), Denied)


def test_the_expiry_is_the_tokens_own_claim() -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": 1234}).encode()).decode().rstrip("=")
    assert expiry_of(f"x.{payload}.y") == 1234


@pytest.mark.parametrize("token", ["", "x", "x.y.z", "x.e30.z", "x.W10.z"])
def test_a_token_without_one_is_never_used_unasked(token: str) -> None:
    assert expiry_of(token) == 0
