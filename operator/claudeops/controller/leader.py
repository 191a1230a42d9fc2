"""One leader, by a Lease: held 15 s, renewed every 2 s, each try within 10 s; released on an orderly end.

A lease counts as expired when *we* have seen it unchanged for its duration, so clocks of different nodes are never compared. The
Lease's transitions are the epoch of the exchange: strictly growing from leader to leader, even when somebody deletes the Lease (a new
one starts at the unix minute, which is ahead of any count of transitions that fewer than one failover a minute can reach).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from claudeops.controller.kind import LEASE, Object, Ref
from claudeops.controller.kube import Kube
from claudeops.errors import ClusterError, Conflict, NotFound

logger = logging.getLogger(__name__)

DURATION_S: Final = 15.0
RENEW_DEADLINE_S: Final = 10.0
RETRY_S: Final = 2.0


@dataclass(frozen=True)
class Sighting:
    """The Lease as last read: its ``resourceVersion`` and when, on our monotonic clock, that version was first seen."""

    version: str = ""
    since_s: float = 0.0

    def see(self, lease: Object, now_s: float) -> Sighting:
        """The sighting after reading ``lease``."""
        version = lease["metadata"].get("resourceVersion", "")
        return self if version == self.version else Sighting(version, now_s)


def is_free(lease: Object, sighting: Sighting, *, identity: str, now_s: float) -> bool:
    """Whether ``identity`` may take the Lease: nobody's, its own, or not renewed for its duration."""
    spec = lease.get("spec", {})
    holder = spec.get("holderIdentity", "")
    if not holder or holder == identity:
        return True
    return now_s - sighting.since_s >= float(spec.get("leaseDurationSeconds", DURATION_S))


def claim(lease: Object | None, *, identity: str, now: datetime) -> Object:
    """The ``spec`` to write: taken over (one more transition) or renewed."""
    spec = dict(lease.get("spec", {})) if lease else {}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if spec.get("holderIdentity") != identity:
        transitions = spec.get("leaseTransitions", 0) + 1 if lease else int(now.timestamp() // 60)
        spec |= {"holderIdentity": identity, "leaseTransitions": transitions, "acquireTime": stamp}
    return spec | {"leaseDurationSeconds": int(DURATION_S), "renewTime": stamp}


class LeaderElection:
    """Takes, holds and releases one Lease. ``now`` is aware UTC time, ``monotonic`` seconds."""

    def __init__(self, kube: Kube, ref: Ref, *, identity: str, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._ref = ref
        self._identity = identity
        self._now = now
        self._monotonic = monotonic
        self._lease: Object | None = None
        self._sighting = Sighting()

    @property
    def is_leader(self) -> bool:
        """Whether the Lease was ours when last seen."""
        return self._lease is not None

    async def acquire(self) -> int:
        """Waits until the Lease is ours; the epoch."""
        while True:
            try:
                if await self._try_acquire():
                    return self._epoch()
            except Conflict:
                pass
            except ClusterError as error:
                logger.warning("cannot take the lease yet: %s", error)
            await asyncio.sleep(RETRY_S)

    async def _try_acquire(self) -> bool:
        try:
            lease = await self._kube.get(self._ref)
        except NotFound:
            metadata = {"name": self._ref.name, "namespace": self._ref.namespace}
            body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata}
            body["spec"] = claim(None, identity=self._identity, now=self._now())
            self._lease = await self._kube.create(LEASE, body, namespace=self._ref.namespace)
            return True
        self._sighting = self._sighting.see(lease, self._monotonic())
        if not is_free(lease, self._sighting, identity=self._identity, now_s=self._monotonic()):
            return False
        lease["spec"] = claim(lease, identity=self._identity, now=self._now())
        self._lease = await self._kube.replace(self._ref, lease)
        return True

    async def hold(self) -> None:
        """Renews; returns when somebody else holds the Lease, or held it meanwhile: the process must end then.

        An API server that does not answer costs no leadership: nobody can take the Lease from it either. In a partition a second leader
        may arise; its epoch is higher, and every proxy that has heard of it ignores this one.
        """
        is_silent = False
        epoch = self._epoch()
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                async with asyncio.timeout(RENEW_DEADLINE_S):
                    if not await self._try_acquire():
                        break
                if self._epoch() != epoch:  # taken anew: the proxies know a newer leader than this one
                    await self.release()
                    break
            except (ClusterError, TimeoutError) as error:
                if not is_silent:
                    logger.warning("cannot renew the lease, which is tried on and on: %s", error or "no answer in time")
                is_silent = True
            else:
                if is_silent:
                    logger.info("the lease is renewed again")
                is_silent = False
        self._lease = None

    def _epoch(self) -> int:
        assert self._lease is not None
        return int(self._lease["spec"]["leaseTransitions"])

    async def release(self) -> None:
        """Gives the Lease up, so that a standby takes over at once. Never raises a cluster error: this is the way out."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        lease["spec"] = lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._kube.replace(self._ref, lease)
        except ClusterError as error:
            logger.warning("could not release the lease: %s", error)
