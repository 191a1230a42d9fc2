"""What a TokenReview and a pod say about who speaks."""

import base64
import json
from typing import Any

import pytest

from claudeops.controller.identity import MAX_VERDICTS, BoundPod, VerdictCache, expiry_of, read_pod, read_review
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


def token(expires_s: float, name: str = "x") -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": expires_s}).encode()).decode().rstrip("=")
    return f"{name}.{payload}.y"


WHO = Identity("uid-1", WorkloadKey(namespace="shop", name="bot"))


def test_a_verdict_is_used_unasked_for_60_s_and_a_refusal_for_5() -> None:
    cache, good, bad = VerdictCache(), token(3600.0), token(3600.0, "bad")
    assert cache.fresh(good, 0.0) is None
    cache.keep(good, WHO, 0.0)
    cache.keep(bad, Denied("no"), 0.0)
    assert cache.fresh(good, 59.9) == WHO and cache.fresh(good, 60.0) is None
    assert cache.fresh(bad, 4.9) == Denied("no") and cache.fresh(bad, 5.0) is None
    assert cache.fresh(token(3600.0, "another"), 0.0) is None


def test_while_nobody_can_be_asked_a_known_pod_is_known_until_its_token_expires() -> None:
    cache, good, bad, endless = VerdictCache(), token(3600.0), token(3600.0, "bad"), "x.e30.z"
    for known, result in ((good, WHO), (bad, Denied("no")), (endless, WHO)):
        cache.keep(known, result, 0.0)
    assert cache.last(good, 3599.0) == WHO and cache.last(good, 3600.0) is None
    assert cache.last(bad, 1.0) is None
    assert cache.last(endless, 1.0) is None


def test_verdicts_are_bounded_and_old_ones_make_room() -> None:
    cache = VerdictCache()
    for number in range(MAX_VERDICTS + 1):
        cache.keep(f"token-{number}", Denied("no"), 0.0)
    assert cache.fresh(f"token-{MAX_VERDICTS}", 0.0) is None
    cache.keep("newer", WHO, 10.0)
    assert cache.fresh("newer", 10.0) == WHO
