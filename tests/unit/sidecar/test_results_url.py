"""The URL of a batch's results is made to lead to the proxy, wherever the answer's bytes are cut, and nothing else is changed."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.table import every

from claudeops.sidecar.endpoint import BATCHES, FILES, NEW_BATCH
from claudeops.sidecar.results_url import API_ORIGIN, PATH, ResultsUrl, rewriter_of
from claudeops.wire.http1 import parse_request_head

UPSTREAM = b"gateway.example:8080"
PREFIX = b"/claude"
HOST = b"proxy:4141"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8"
BASES = (API_ORIGIN, b"http://gateway.example:8080/claude")
LED_HERE = [*BASES, b"http://gateway.example:8080", b"https://gateway.example:8080/claude", b"https://gateway.example:8080"]
LEFT = [b"https://elsewhere.example", b"https://api.anthropic.com.evil.example", b"http://gateway.example:80801", b"", b"http://proxy:4141"]
SCRAPS = st.sampled_from(
    [b'"', b'"results_url"', b": ", b':"', *BASES, PATH, b'"results_url":"' + API_ORIGIN, b"x", b'\\"', b"/v1/messages/"]
)
NONSENSE = st.lists(SCRAPS, max_size=25).map(b"".join)


def rewriter(
    method: str = "GET", path: str = "/v1/messages/batches", *, host: bytes = HOST, kind: int = BATCHES, answer: bytes = ANSWER
) -> ResultsUrl | None:
    line = b"host: %b" % host if host else b"x: y"
    version = b"1.1" if host else b"1.0"  # the only one that may go without
    request = parse_request_head(b"%b %b HTTP/%b\r\n%b" % (method.encode(), path.encode(), version, line), re.compile(rb"(?!)"))
    return rewriter_of(request, kind, answer, upstream=UPSTREAM, prefix=PREFIX)


def through(found: ResultsUrl, body: bytes, sizes: list[int]) -> bytes:
    """The body's pieces have these sizes, over and over."""
    out, at, step = b"", 0, 0
    while at < len(body):
        piece = body[at : at + sizes[step % len(sizes)]]
        at, step = at + len(piece), step + 1
        out += found.feed(piece, False)
        assert at - len(out) < 120 + 40 * out.count(HOST)  # what is kept back is bounded
    return out + found.feed(b"", True)


URLS = st.sampled_from([*LED_HERE, *LEFT]).map(lambda base: (base + PATH + b"msgbatch_1/results").decode())
BATCH = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", '"results_url":"https://api.anthropic.com/v1/messages/batches/']), "results_url": st.none() | URLS}
)
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@given(st.lists(BATCH, max_size=4), SIZES, st.sampled_from([(",", ":"), (", ", ": ")]))
@settings(max_examples=30)
def test_urls_of_the_upstream_lead_here_and_nothing_else_changes(
    batches: list[dict[str, str]], sizes: list[int], separators: tuple[str, str]
) -> None:
    found = rewriter()
    assert found is not None
    body = json.dumps({"data": batches}, separators=separators).encode()
    for batch in batches:
        base = (batch["results_url"] or "").partition("/v1/")[0]
        if base.encode() in LED_HERE:
            batch["results_url"] = batch["results_url"].replace(base, "http://proxy:4141")
    assert through(found, body, sizes) == json.dumps({"data": batches}, separators=separators).encode()


@given(NONSENSE, SIZES)
@settings(max_examples=30)
def test_cuts_change_nothing(body: bytes, sizes: list[int]) -> None:
    whole = ResultsUrl(BASES, HOST).feed(body, True)
    assert through(ResultsUrl(BASES, HOST), body, sizes) == whole
    assert whole.replace(b"http://" + HOST + PATH, b"").count(b'"') == body.count(b'"')


@pytest.mark.parametrize("host", [b"proxy", b"127.0.0.1:4141", b"[::1]:4141", b"claude_proxy.shop.svc:80"])
def test_the_client_is_led_to_what_it_calls_the_proxy(host: bytes) -> None:
    found = rewriter(host=host)
    assert found is not None
    url = b'{"results_url": "%b/v1/messages/batches/b/results"}'
    assert found.feed(url % API_ORIGIN, True) == url % (b"http://" + host)


@pytest.mark.parametrize("host", [b"api.anthropic.com", b"API.anthropic.com.:443", b"gateway.example:8080"])
def test_nobody_is_led_to_the_upstream_in_plain_text(host: bytes) -> None:
    assert rewriter(host=host) is None


@every("host", [b"", b'a"b', b"a/b", b"user@proxy", b"a b", b"proxy:", b"proxy:123456", b"[::1", b"\xc3\xa9"])
def test_a_host_that_is_none_is_put_nowhere(host: bytes) -> None:
    assert rewriter(host=host) is None


@pytest.mark.parametrize(
    ("method", "path", "kind", "is_rewritten"),
    [
        ("POST", "/v1/messages/batches", NEW_BATCH, True),
        ("GET", "/v1/messages/batches?limit=2", BATCHES, True),
        ("GET", "/v1/messages/batches/b?beta=true", BATCHES, True),
        ("POST", "/v1/messages/batches/b/cancel", BATCHES, True),
        ("DELETE", "/v1/messages/batches/b", BATCHES, False),
        ("GET", "/v1/messages/batches/b/results", BATCHES, False),
        ("GET", "/v1/files", FILES, False),
    ],
)  # fmt: skip
def test_only_answers_with_batch_objects_are_touched(method: str, path: str, kind: int, is_rewritten: bool) -> None:
    assert (rewriter(method, path, kind=kind) is not None) == is_rewritten


@pytest.mark.parametrize(
    "line", [b"content-type: application/x-jsonl", b"x: y", b"content-type: application/json\r\ncontent-encoding: gzip"]
)
def test_what_is_not_plain_json_is_left_alone(line: bytes) -> None:
    assert rewriter(answer=b"HTTP/1.1 200 OK\r\n" + line) is None
