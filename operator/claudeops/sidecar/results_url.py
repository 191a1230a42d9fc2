"""Where a batch's results are. The API says so with an absolute URL of its own, which would lead applications past the proxy."""

from __future__ import annotations

import re

from claudeops.sidecar.coding import head_coding
from claudeops.sidecar.endpoint import BATCHES, NEW_BATCH
from claudeops.wire.http1 import RequestHead, header

PATH = b"/v1/messages/batches/"
API_HOST = b"api.anthropic.com"
API_ORIGIN = b"https://" + API_HOST
"""What the API itself writes (its reference, "Retrieve a Message Batch"), also where a gateway stands before it."""
_USUAL_HOST = re.compile(rb"(?:[\w.-]+|\[[\dA-Fa-f:.]+\])(?::\d{1,5})?")
_OPENING = (b'"results_url":"', b'"results_url": "')
_KINDS = (BATCHES, NEW_BATCH)
_METHODS = (b"GET", b"POST")


class ResultsUrl:
    """Puts `host` in the place of each of `bases` (scheme, host, path before ``/v1``) where a ``results_url`` begins with one.

    Fed with a body in pieces, however it is cut, it gives the same bytes but for that; it keeps back less than one such beginning.
    """

    __slots__ = ("_held", "_longest", "_pattern", "_rewritten")

    def __init__(self, bases: tuple[bytes, ...], host: bytes) -> None:
        own = b"http://%b%b" % (host, PATH)
        self._rewritten = {opening + base + PATH: opening + own for opening in _OPENING for base in bases}
        self._pattern = re.compile(b"|".join([re.escape(written) for written in self._rewritten]))
        self._longest = max([len(written) for written in self._rewritten])
        self._held = b""

    def feed(self, data: bytes, is_last: bool) -> bytes:
        """What can go on."""
        data = self._held + data
        parts: list[bytes] = []
        at = 0
        for found in self._pattern.finditer(data):
            parts += (data[at : found.start()], self._rewritten[found[0]])
            at = found.end()
        end = len(data) if is_last else self._begun(data, at)
        self._held = data[end:]
        return b"".join((*parts, data[at:end]))

    def _begun(self, data: bytes, start: int) -> int:
        """Where what may become a beginning begins; the end of `data` for none."""
        at = data.find(b'"', max(start, len(data) - self._longest))
        while at >= 0:
            rest = data[at:]
            for written in self._rewritten:
                if written.startswith(rest):
                    return at
            at = data.find(b'"', at + 1)
        return len(data)


def rewriter_of(request: RequestHead, kind: int, answer_head: bytes, *, upstream: bytes, prefix: bytes) -> ResultsUrl | None:
    """For a 200 with batch objects, to a client that said what it calls us; None for every other. `upstream`, `prefix`: see Target.

    Either scheme will do: behind whatever ends TLS, an upstream may not know what it is reached by. A client that calls us what the
    upstream is called keeps the URL: with ``http://`` before that name it would go there in plain text.
    """
    if kind not in _KINDS or request.method not in _METHODS or request.path.endswith(b"/results"):
        return None
    host = request.values.get(b"host", b"")
    if _USUAL_HOST.fullmatch(host) is None or _plain(host) in (_plain(upstream), API_HOST) or head_coding(answer_head):
        return None
    if not header(answer_head, answer_head.lower(), b"content-type").startswith(b"application/json"):
        return None
    bases = {scheme + upstream + path for scheme in (b"https://", b"http://") for path in (b"", prefix)}
    return ResultsUrl((API_ORIGIN, *bases), host)


def _plain(host: bytes) -> bytes:
    return host.lower().removesuffix(b":443").removesuffix(b":80").rstrip(b".")
