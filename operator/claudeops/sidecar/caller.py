"""What a request's headers say about who asks and how; derived once per distinct header block and remembered on it."""

from __future__ import annotations

import math
import re
from typing import Final

from claudeops.sidecar.coding import coding_of
from claudeops.sidecar.endpoint import COUNT_TOKENS, MESSAGES, NEW_BATCH, kind_of
from claudeops.sidecar.tokenformat import merge_beta
from claudeops.wire.http1 import RequestHead

PRIORITIES: Final = {b"interactive": 0, b"background": 1}
SESSION: Final = b"x-claudeops-session"
_CODING_LINE: Final = re.compile(rb"^content-encoding[ \t]*:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


class Caller:
    """``head_line`` is the request line and every header but key and length, ready to be sent to ``host``.

    ``coding``: the body's ``content-encoding``, empty for none. What the stages read is decoded before, and sent on decoded.
    ``may_share``: it may take the answer of an identical call; ``x-claudeops-coalesce: 0`` says that it wants one of its own.
    """

    __slots__ = ("api_version", "coding", "head_line", "host", "kind", "may_share", "priority", "session", "timeout_s")

    def __init__(self, head: RequestHead, host: bytes, *, prefix: bytes = b"", beta: bytes = b"", session_header: bytes = SESSION) -> None:
        values = head.values
        self.host = host
        self.kind = kind_of(head.method, head.path)
        self.session = values.get(SESSION) or values.get(session_header, b"")
        self.priority = PRIORITIES.get(values.get(b"x-claudeops-priority", b"interactive").lower(), 0)
        self.may_share = values.get(b"x-claudeops-coalesce", b"1") != b"0"
        self.timeout_s = _seconds(values.get(b"x-stainless-timeout", b""))
        version = values.get(b"anthropic-version")
        self.api_version = None if version is None else version.decode("latin-1")
        self.coding = coding_of(values.get(b"content-encoding", b""))
        forward = _CODING_LINE.sub(b"", head.forward) if self.kind in (MESSAGES, COUNT_TOKENS, NEW_BATCH) else head.forward
        if session_header != SESSION and session_header in values:
            forward = re.sub(rb"(?im)^%b[ \t]*:[^\r\n]*\r\n" % re.escape(session_header), b"", forward)
        self.head_line = b"%b %b%b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n%b" % (
            head.method,
            prefix,
            head.target,
            host,
            forward,
        )
        if beta:
            self.head_line = merge_beta(self.head_line, beta)


def _seconds(value: bytes) -> float:
    """A client's own time limit; infinite where it names none."""
    try:
        seconds = float(value)
    except ValueError:
        return math.inf
    return seconds if seconds > 0.0 else math.inf
