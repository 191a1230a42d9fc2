"""The proxy's side of the exchange: a long poll on one TLS connection, urgent reports on a second, leases that end by themselves.

No signal is not zero: while no controller answers, what the last assignment said holds until its leases run out (see
:mod:`claudeops.policy.lease_state`), and everything that is no lease holds on.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Final

from claudeops.errors import ClaudeOpsError
from claudeops.exchange import Assignment, decode_assignment, encode_message
from claudeops.sidecar.channel import Channel
from claudeops.sidecar.config import ConfigHolder, TokenFile
from claudeops.sidecar.report import Position, ReportDesk
from claudeops.sidecar.runtime import Runtime

POLL_SPACING_S: Final = 0.1
"""Two long polls are sent at least this far apart, whatever the controller does."""
URGENT_SPACING_S: Final = 0.5
POLL_GRACE_S: Final = 4.0
"""A long poll is given up this long after the report interval: well within a lease's time."""
URGENT_TIMEOUT_S: Final = 3.0
GOODBYE_S: Final = 1.0
BACKOFF_FIRST_S: Final = 0.25
BACKOFF_LAST_S: Final = 5.0
NO_CONTROLLER_S: Final = 0.5
_LOG = logging.getLogger("claudeops.sidecar.exchange")


class ExchangeClient:
    """Reports, and applies what is answered. ``run`` never returns; ``hurry`` asks for a report at once."""

    def __init__(self, runtime: Runtime, holder: ConfigHolder, *, desk: ReportDesk, token: TokenFile) -> None:
        self._runtime = runtime
        self._holder = holder
        self._desk = desk
        self._token = token
        self._rng: Random = runtime.rng
        self._polling = Channel()
        self._hurrying = Channel()
        self._urgent = asyncio.Event()
        self._interval_s = 5.0
        self._sent_at = self._fresh_until = float("-inf")
        self.epoch = 0
        self.version = 0
        self.error = "no answer yet"
        self.answered_at: float | None = None
        self.answers = 0
        self.failures = 0

    async def run(self) -> None:
        """Both loops, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poll_forever())
                tasks.create_task(self._hurry_forever())
        finally:
            self._polling.close()
            self._hurrying.close()

    def hurry(self, reason: str) -> None:
        """Report soon on the second connection: at once, or half a second after the last one."""
        _LOG.debug("urgent report", extra={"reason": reason})
        self._urgent.set()

    async def say_goodbye(self) -> None:
        """The last report, so that the lease goes to others at once; given up after a second."""
        channel = Channel()
        await self._report(channel, GOODBYE_S, is_urgent=True)
        channel.close()

    async def _poll_forever(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            sent_at = self._runtime.clock()
            if self._holder.current is None or self._holder.current.controller is None:
                await asyncio.sleep(NO_CONTROLLER_S)
                continue
            if not self._polling.is_open:
                self._desk.forget_cells()
            is_answered = await self._report(self._polling, self._interval_s + POLL_GRACE_S, is_urgent=False)
            if not is_answered:
                await asyncio.sleep(backoff_s * self._rng.uniform(0.5, 1.0))
                backoff_s = min(BACKOFF_LAST_S, 2.0 * backoff_s)
                continue
            backoff_s = BACKOFF_FIRST_S
            spacing_s = self._interval_s if self._holder.error_source == "exchange" else POLL_SPACING_S
            await asyncio.sleep(max(0.0, sent_at + spacing_s - self._runtime.clock()))

    async def _hurry_forever(self) -> None:
        spacing_s = URGENT_SPACING_S
        while True:
            await self._urgent.wait()
            self._urgent.clear()
            sent_at = self._runtime.clock()
            is_answered = await self._report(self._hurrying, URGENT_TIMEOUT_S, is_urgent=True)
            spacing_s = URGENT_SPACING_S if is_answered else min(BACKOFF_LAST_S, 2.0 * spacing_s)
            await asyncio.sleep(max(0.0, sent_at + spacing_s - self._runtime.clock()))

    async def _report(self, channel: Channel, timeout_s: float, *, is_urgent: bool) -> bool:
        """Sends one report and applies its answer. False, said once, when there was none that could be used."""
        config = self._holder.current
        if config is None or config.controller is None:
            return False
        sent_at = self._runtime.clock()
        position = Position(self.epoch, self.version, config, self._holder.current_hash)
        report, taken = self._desk.make(position, sent_at, is_urgent=is_urgent)
        is_received = False
        try:
            token = self._token.read()
            raw = await channel.post(config.controller, encode_message(report), token=token, timeout_s=timeout_s)
            is_received = True
            assignment = decode_assignment(raw)
            self._desk.confirm(taken, assignment.epoch)
            self._take(assignment, sent_at)
        except ClaudeOpsError as error:
            self._complain(str(error))
            return False
        finally:
            if not is_received:
                self._desk.put_back(taken)
        if self.error:
            _LOG.info("the controller answers", extra={"epoch": self.epoch, "version": self.version})
        self.error = ""
        self.answers += 1
        self.answered_at = self._runtime.clock()
        return True

    def _take(self, assignment: Assignment, sent_at: float) -> None:
        """Applies an assignment. A lower one than that in force is ignored for as long as that one's leases run: after that whoever
        answers is the controller. The one in force, said again, renews its leases."""
        if assignment.config is not None:
            self._holder.offer(assignment.config, "exchange")
        now = self._runtime.clock()
        held, order = (self.epoch, self.version), (assignment.epoch, assignment.version)
        if (order < held and now < self._fresh_until) or (order == held and sent_at <= self._sent_at):
            return
        self.epoch, self.version = order
        self._sent_at, self._fresh_until = sent_at, sent_at + assignment.ttl_s
        self._interval_s = min(60.0, max(POLL_SPACING_S, assignment.report_interval_s))
        self._runtime.apply_assignment(assignment, sent_at=sent_at, now=now)

    def _complain(self, reason: str) -> None:
        self.failures += 1
        if reason != self.error:
            _LOG.warning("the exchange does not work; the last assignment holds as long as its leases do", extra={"reason": reason})
        self.error = reason
