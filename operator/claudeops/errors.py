"""Every error this package raises on purpose, in one tree.

::

    ClaudeOpsError
    ├── InvalidResource          what the user wrote cannot be used; the message says what to write instead
    ├── UpstreamError            the Claude API
    │   ├── UpstreamTimeout
    │   ├── UpstreamRejected
    │   └── UpstreamUnavailable
    ├── ClusterError             the Kubernetes API
    │   ├── Conflict
    │   ├── NotFound
    │   ├── Forbidden
    │   └── Unreachable
    └── NoSignal                 a decision was asked for without data; the last one stands

Foreign errors are mapped to this tree once, in the adapter that meets them, and chained with ``from``.
Expected refusals (a shed request, a denied admission) are values, not errors.
"""

from __future__ import annotations


class ClaudeOpsError(Exception):
    """Base of the tree. ``str(error)`` is a sentence for a person: what happened, where, and what to do next."""


class InvalidResource(ClaudeOpsError):
    """A resource or document the user wrote is wrong. Retrying does not help; editing does.

    ``path`` is the field's path in the document, ``""`` when the whole document is meant.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class UpstreamError(ClaudeOpsError):
    """The Claude API did not do what it was asked."""


class UpstreamTimeout(UpstreamError):
    """No answer in time."""


class UpstreamRejected(UpstreamError):
    """The API answered with a refusal that retrying does not change."""


class UpstreamUnavailable(UpstreamError):
    """The API could not be reached or says that it cannot serve now."""


class ClusterError(ClaudeOpsError):
    """The Kubernetes API did not do what it was asked. Retried with backoff unless a subclass says otherwise."""


class Conflict(ClusterError):
    """Somebody else changed the object, or owns the field or the name."""


class NotFound(ClusterError):
    """The object does not exist."""


class Forbidden(ClusterError):
    """The ServiceAccount lacks the right; the message names verb and resource."""


class Unreachable(ClusterError):
    """The API server does not answer."""


class NoSignal(ClaudeOpsError):
    """There is no data to decide on."""
