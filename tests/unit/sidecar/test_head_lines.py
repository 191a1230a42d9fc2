"""The head of a stream on its way to the client: without the lines of the upstream's connection, however they are spelled."""

from __future__ import annotations

from tests.unit.sidecar.test_booking import Desk
from tests.unit.table import every

from claudeops.sidecar.head_lines import open_head
from claudeops.wire.http1 import RequestHead

STATUS = b"HTTP/1.1 200 OK"
KEPT = b"\r\ncontent-type: text/event-stream\r\nrequest-id: req_1"


@every(
    "head",
    {
        "behind all others": STATUS + KEPT + b"\r\ntransfer-encoding: chunked",
        "before all others": STATUS + b"\r\ntransfer-encoding: chunked" + KEPT,
        "capitals": STATUS + b"\r\nTransfer-Encoding: chunked" + KEPT,
        "more capitals": STATUS + b"\r\nTRANSFER-ENCODING: Chunked" + KEPT,
        "no space": STATUS + KEPT + b"\r\ntransfer-encoding:chunked",
        "more behind it": STATUS + KEPT + b"\r\ntransfer-encoding: chunked ",
        "another coding too": STATUS + b"\r\ntransfer-encoding: chunked, x" + KEPT,
        "twice": STATUS + b"\r\ntransfer-encoding: chunked" + KEPT + b"\r\ntransfer-encoding: chunked",
        "with others": STATUS + b"\r\ntransfer-encoding: chunked" + KEPT + b"\r\nConnection: keep-alive\r\nkeep-alive: timeout=5",
        "with one of ours": STATUS + KEPT + b"\r\ntransfer-encoding: chunked\r\nX-Claudeops-Tier: none",
        "HTTP/1.0": STATUS.replace(b"1.1", b"1.0") + KEPT + b"\r\ntransfer-encoding: chunked",
        "a length": STATUS + KEPT + b"\r\ncontent-length: 12",
    }.values(),
)
def test_a_streams_head_loses_the_lines_of_its_connection_and_nothing_else(head: bytes) -> None:
    call = Desk().call(is_streamed=True)
    call.head = RequestHead(b"POST", b"/v1/messages", {}, b"")
    written, is_chunked = open_head(call, head)
    theirs, ours = written.split(b"\r\nx-claudeops-", 1)
    assert (theirs, is_chunked) == (STATUS + KEPT, True)
    assert ours.endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n")
