"""Who speaks on the exchange: TokenReview, then the pod that the token is bound to, then its label. The body of a report proves nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from claudeops.controller.kind import TOKEN_REVIEW, Object
from claudeops.controller.kube import Kube
from claudeops.errors import ClusterError, NotFound, Unreachable
from claudeops.exchange import TOKEN_AUDIENCE
from claudeops.fleet import Denied, Identity
from claudeops.proxyconfig import WorkloadKey
from claudeops.translate.naming import WORKLOAD_LABEL

VERDICT_LIFE_S: Final = 60.0
REFUSAL_LIFE_S: Final = 5.0
MAX_VERDICTS: Final = 20_000
_EXTRA: Final = "authentication.kubernetes.io/"
_ACCOUNT: Final = "system:serviceaccount:"


@dataclass(frozen=True)
class BoundPod:
    """The pod that a reviewed token is bound to."""

    namespace: str
    name: str
    uid: str


FindPod = Callable[[BoundPod], Awaitable[Object]]
"""The pod of that namespace and name; raises :class:`~claudeops.errors.NotFound`."""


def read_review(status: Object) -> BoundPod | Denied:
    """The pod of a TokenReview's ``status``, or why not."""
    if not status.get("authenticated"):
        return Denied(f"the token is not valid for this cluster: {status.get('error', 'not authenticated')}")
    if TOKEN_AUDIENCE not in (status.get("audiences") or ()):
        return Denied(f"the token is not for the audience {TOKEN_AUDIENCE}")
    user = status.get("user", {})
    extra = user.get("extra") or {}
    names, uids = extra.get(f"{_EXTRA}pod-name") or (), extra.get(f"{_EXTRA}pod-uid") or ()
    username = user.get("username", "")
    if not username.startswith(_ACCOUNT) or not names or not uids:
        return Denied("the token is not bound to a pod: use the projected token that the injector mounts")
    return BoundPod(username.removeprefix(_ACCOUNT).partition(":")[0], names[0], uids[0])


def read_pod(pod: Object, bound: BoundPod) -> Identity | Denied:
    """The identity that a pod gives the token bound to it."""
    metadata = pod["metadata"]
    workload = metadata.get("labels", {}).get(WORKLOAD_LABEL)
    if metadata.get("uid") != bound.uid:
        return Denied(f"the pod {bound.namespace}/{bound.name} is not the one that the token was issued to")
    if not workload:
        return Denied(f"the pod {bound.namespace}/{bound.name} has no label {WORKLOAD_LABEL}")
    return Identity(instance=bound.uid, workload=WorkloadKey(namespace=bound.namespace, name=workload))


def expiry_of(token: str) -> float:
    """The ``exp`` claim in unix seconds; 0 when the token has none. Not a proof of anything."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return 0.0


@dataclass(frozen=True)
class _Verdict:
    result: Identity | Denied
    fresh_until_s: float
    valid_until_s: float


class VerdictCache:
    """What was said of a token, by its hash. Times are unix seconds."""

    def __init__(self) -> None:
        self._verdicts: dict[bytes, _Verdict] = {}

    def fresh(self, token: str, now_s: float) -> Identity | Denied | None:
        """A verdict that needs no asking: 60 s old at most, a refusal 5 s."""
        known = self._verdicts.get(_digest(token))
        return known.result if known is not None and now_s < known.fresh_until_s else None

    def last(self, token: str, now_s: float) -> Identity | None:
        """Who it was when somebody could be asked last, until the token itself expires."""
        known = self._verdicts.get(_digest(token))
        if known is None or isinstance(known.result, Denied) or now_s >= known.valid_until_s:
            return None
        return known.result

    def keep(self, token: str, result: Identity | Denied, now_s: float) -> None:
        """Remembers a verdict; when there are too many, those that may be wanted no more make room."""
        if len(self._verdicts) >= MAX_VERDICTS:
            self._verdicts = {key: verdict for key, verdict in self._verdicts.items() if verdict.fresh_until_s > now_s}
        if len(self._verdicts) < MAX_VERDICTS:
            life_s = REFUSAL_LIFE_S if isinstance(result, Denied) else VERDICT_LIFE_S
            self._verdicts[_digest(token)] = _Verdict(result, now_s + life_s, expiry_of(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class TokenAuthenticator:
    """From bearer token to identity. A verdict holds for 60 s, and to the token's own expiry while the API server is away."""

    def __init__(self, kube: Kube, find_pod: FindPod, *, unix_time: Callable[[], float]) -> None:
        self._kube = kube
        self._find_pod = find_pod
        self._time = unix_time
        self._verdicts = VerdictCache()

    async def __call__(self, token: str) -> Identity | Denied:
        """Raises nothing: what could not be checked is a retryable denial."""
        known = self._verdicts.fresh(token, self._time())
        if known is not None:
            return known
        try:
            result = await self._review(token)
        except ClusterError as error:
            last = self._verdicts.last(token, self._time()) if isinstance(error, Unreachable) else None
            return last or Denied(f"the token could not be checked: {error}", is_retryable=True)
        self._verdicts.keep(token, result, self._time())
        return result

    async def _review(self, token: str) -> Identity | Denied:
        body = {
            "apiVersion": TOKEN_REVIEW.api_version,
            "kind": TOKEN_REVIEW.kind,
            "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]},
        }
        review = await self._kube.create(TOKEN_REVIEW, body)
        bound = read_review(review.get("status", {}))
        if isinstance(bound, Denied):
            return bound
        try:
            return read_pod(await self._find_pod(bound), bound)
        except NotFound:
            return Denied(f"the pod {bound.namespace}/{bound.name} does not exist")
