"""Sending a request whose body comes in parts. It has a connection of its own: a part that is sent is gone, so nothing can be repeated.

::

    begin_upload(pool, transit, head, length_bytes=None)     # transit.upstream_slow(True): not connected yet
    transit.upstream.send_part(data)                         # at any time; kept until there is a connection
    transit.upstream.send_end()

``transit.upstream_slow(False)`` says that there is a connection and room, ``upstream_slow(True)`` that there is none for now: stop the
client then (``ServerConnection.slow``). The answer comes as for any request, possibly before the body has ended: then
``transit.upstream`` is None, and what is left of the body is not wanted. To give up in the middle, ``abandon``.
"""

from __future__ import annotations

from claudeops.errors import UpstreamUnavailable
from claudeops.wire.body import Outgoing
from claudeops.wire.pool import Pool
from claudeops.wire.transit import Carrier, Transit
from claudeops.wire.upstream import UpstreamConnection


def begin_upload(pool: Pool, transit: Transit, head: bytes, *, length_bytes: int | None) -> None:
    """``head`` lacks its framing line and the blank line: ``content-length`` follows, or chunked where the length is not known (None).

    ``transit`` hears ``failed`` if there is no connection or it breaks. The connection counts as one of the pool's while it is used.
    """
    opening = UploadOpening(transit, head, Outgoing(length_bytes))
    transit.upstream = opening
    pool.opening += 1
    task = pool.loop.create_task(_open(pool, opening))
    pool.tasks.add(task)
    task.add_done_callback(pool.tasks.discard)
    transit.upstream_slow(True)


async def _open(pool: Pool, opening: UploadOpening) -> None:
    failure = ""
    connection = UpstreamConnection(pool)
    try:
        await pool.dialer.dial(lambda: connection, pool.address, timeout_s=pool.connect_timeout_s)
    except UpstreamUnavailable as error:
        failure = str(error)
    pool.opening -= 1
    transit, opening.transit = opening.transit, None
    if transit is None:
        if not failure:
            connection.close()
        return
    transit.upstream = None
    if failure:
        transit.failed(failure, is_unreachable=True)
    else:
        pool.busy += 1
        pool.sent += 1
        connection.begin_upload(transit, opening.outgoing, b"".join(opening.parts))


class UploadOpening(Carrier):
    """Stands for the connection while it is being opened; keeps what comes until then."""

    __slots__ = ("outgoing", "parts", "transit")

    def __init__(self, transit: Transit, head: bytes, outgoing: Outgoing) -> None:
        self.transit: Transit | None = transit
        self.outgoing = outgoing
        self.parts = [head, outgoing.head_end()]

    def abandon(self) -> None:
        self.transit = None
        self.parts = []

    def slow(self, is_slow: bool) -> None:
        """Nothing is read yet."""

    def send_part(self, data: bytes) -> None:
        self.parts.append(self.outgoing.frame(data))

    def send_end(self) -> None:
        self.parts.append(self.outgoing.end())
