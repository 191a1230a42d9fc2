"""AdmissionReviews in and out."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from claudeops.controller.injector import Injector, load_pair
from claudeops.errors import Unreachable
from claudeops.fleet.serving import ServingContext
from claudeops.translate.proxy_container import InjectionSettings

WORKLOAD = {
    "apiVersion": "claudeops.dev/v1alpha1",
    "kind": "ClaudeWorkload",
    "metadata": {"name": "bot", "namespace": "shop"},
    "spec": {"credentials": {"secretRef": {"name": "key", "key": "api-key"}}, "model": {"name": "claude-sonnet-4-6"}},
}


def pod(**metadata: Any) -> dict[str, Any]:
    labels = {"labels": {"claudeops.dev/workload": "bot"}}
    return {"metadata": {"generateName": "bot-", **labels, **metadata}, "spec": {"containers": [{"name": "app", "image": "app"}]}}


def answer(item: Any, reviewed: dict[str, Any]) -> dict[str, Any]:
    asked: list[tuple[str, str]] = []

    async def find(namespace: str, name: str) -> Any:
        asked.append((namespace, name))
        if isinstance(item, Exception):
            raise item
        return item

    injector = Injector(find, InjectionSettings(image="proxy:1"))
    review = {"request": {"uid": "u-1", "namespace": "shop", "object": reviewed}}
    response: dict[str, Any] = asyncio.run(injector.answer(review))["response"]
    assert response["uid"] == "u-1"
    assert asked in ([], [("shop", "bot")])
    return response


def test_a_labelled_pod_is_patched_for_the_workload_of_its_own_namespace() -> None:
    response = answer(WORKLOAD, pod())
    assert response["allowed"] and response["patchType"] == "JSONPatch"
    patch = json.loads(base64.b64decode(response["patch"]))
    added = next(step["value"] for step in patch if step["path"].startswith("/spec/initContainers"))
    assert added[0]["image"] == "proxy:1"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (None, "ClaudeWorkload shop/bot does not exist: create it, or remove the label"),
        (Unreachable("no answer"), "could not be looked up"),
        ({**WORKLOAD, "spec": {"model": {"name": "gpt"}}}, "is not valid"),
    ],
)
def test_a_pod_that_cannot_have_its_proxy_is_refused_with_the_reason(item: Any, words: str) -> None:
    response = answer(item, pod())
    assert not response["allowed"] and words in response["status"]["message"]
    assert response["status"]["code"] == 403 and "patch" not in response


def test_a_pod_without_the_label_passes_as_it_is() -> None:
    response = answer(None, pod(labels={}))
    assert response["allowed"] and "patch" not in response


def test_an_absent_certificate_is_waited_for(tmp_path: Path) -> None:
    serving = ServingContext()
    assert not load_pair(serving, tmp_path) and not serving.is_loaded
