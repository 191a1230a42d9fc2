"""One API call on its way through the simulator: what is known of it, and how it is refused."""

from __future__ import annotations

import random
import time

from claudeops.catalogue import Model
from claudeops.simulator.config import Account
from claudeops.simulator.content import STANDARD
from claudeops.simulator.fault import Fault
from claudeops.simulator.http import Connection, Request
from claudeops.simulator.identity import mint
from claudeops.simulator.message import CountRequest, MessageRequest
from claudeops.simulator.pool import Group
from claudeops.simulator.promptcache import InputUse, Lookup
from claudeops.simulator.transcript import Transcript
from claudeops.simulator.workspacelimit import Pool

CACHE_CONTROL = b'"cache_control"'
"""A body without these bytes has no breakpoints: cheaper to look for than to walk through its blocks."""


class Call:
    """One request to an API endpoint. Stages fill it in from top to bottom."""

    __slots__ = (
        "account",
        "connection",
        "dice",
        "fault",
        "group",
        "is_admin",
        "key",
        "lookup",
        "message",
        "model",
        "names",
        "ratelimit_lines",
        "request",
        "request_id",
        "service",
        "standard",
        "started_at",
        "started_s",
        "transcript",
        "version",
    )

    def __init__(self, request: Request, connection: Connection, dice: random.Random, started_s: float) -> None:
        self.request = request
        self.connection = connection
        self.dice = dice
        self.request_id = mint("req", dice)
        self.names: tuple[str, ...] = ()
        self.started_s = started_s
        self.started_at = time.time()
        self.key = ""
        self.version = ""
        self.account: Account | None = None
        self.message: CountRequest | None = None
        self.model: Model | None = None
        self.is_admin = False
        self.standard: Group | None = None
        self.group: Pool | None = None
        self.service = STANDARD
        self.fault: Fault | None = None
        self.transcript: Transcript | None = None
        self.lookup = Lookup(InputUse(0))
        self.ratelimit_lines = b""

    @property
    def is_stream(self) -> bool:
        """Whether the client asked for server-sent events."""
        return isinstance(self.message, MessageRequest) and self.message.stream

    def lines(self, *, has_ratelimits: bool) -> bytes:
        """The header lines of every answer to this call."""
        lines = f"request-id: {self.request_id}\r\n"
        if self.account is not None and self.is_admin:
            lines += f"anthropic-organization-id: {self.account.organization_id}\r\n"
        elif self.account is not None:
            lines += f"anthropic-organization-id: {self.account.organization_id}\r\nanthropic-workspace-id: {self.account.workspace_id}\r\n"
        return lines.encode() + (self.ratelimit_lines if has_ratelimits else b"")
