"""Who speaks on the exchange, as the controller's authentication found out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from claudeops.proxyconfig import WorkloadKey


@dataclass(frozen=True, slots=True)
class Identity:
    """A proxy: the uid of its pod, and the workload that the pod's namespace and label name."""

    instance: str
    workload: WorkloadKey


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a token is not let in, as a sentence for a person. ``is_retryable``: the check itself could not be made (answered by 503)."""

    message: str
    is_retryable: bool = False


Authenticate = Callable[[str], Awaitable[Identity | Denied]]
"""Takes the bearer token. Raises nothing: what could not be checked is ``Denied(..., is_retryable=True)``."""
