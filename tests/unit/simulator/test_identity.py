"""Ids and times that follow from the request, transcripts that are read, and what things cost."""

from __future__ import annotations

from datetime import date

import pytest

from claudeops.catalogue import load_catalogue
from claudeops.errors import InvalidResource
from claudeops.simulator.config import Account
from claudeops.simulator.content import Service
from claudeops.simulator.http import Request
from claudeops.simulator.identity import FIXED_NOW_S, Identity, mint
from claudeops.simulator.promptcache import InputUse
from claudeops.simulator.reply import Problem
from claudeops.simulator.spend import SpendBook, price_pico
from claudeops.simulator.transcript import Library, Transcript


def request(body: bytes = b"{}", query: str = "", kind: bytes = b"application/json") -> Request:
    made = Request("10.0.0.1")
    made.method, made.path, made.query, made.body = "POST", "/v1/messages", query, body
    made.headers[b"content-type"] = kind
    return made


def test_fixed_ids_follow_from_seed_and_request() -> None:
    identity = Identity(1, True)

    def minted(made: Request, seed: int = 1) -> str:
        return mint("msg", (identity if seed == 1 else Identity(seed, True)).dice_for(made))

    assert minted(request()) == minted(request())
    assert len({minted(request()), minted(request(b"[]")), minted(request(query="beta=true")), minted(request(), 2)}) == 4
    forms = [
        minted(request(b"--%b x --%b--" % (edge, edge), kind=b'multipart/form-data; boundary="%b"' % edge)) for edge in (b"one", b"two")
    ]
    assert forms[0] == forms[1]
    assert identity.now_s() == FIXED_NOW_S
    assert (identity.today(), Identity(1, False, date(2030, 1, 1)).today()) == (date(2026, 11, 22), date(2030, 1, 1))


def test_otherwise_ids_follow_from_the_order() -> None:
    one, other = Identity(1, False), Identity(1, False)
    first = [mint("msg", one.dice_for(request())) for _ in range(3)]
    assert first == [mint("msg", other.dice_for(request(b"[]"))) for _ in range(3)]
    assert len(set(first)) == 3


def test_a_transcript_that_cannot_be_read_changes_nothing() -> None:
    library = Library({"good": "event: ping\ndata: {}\n\n"})
    with pytest.raises(InvalidResource) as raised:
        library.replace({"bad": "data: {"})
    assert raised.value.path == "bad"
    assert library.names() == ["good"]
    assert library.find("bad") is None


def test_line_ends_and_comments_of_a_transcript() -> None:
    found = Transcript(
        "t", ': hello\r\n\r\nevent: error\r\ndata: {"type": "error", "error": {"type": "new_error", "message": "x"}}\r\n\r\n'
    )
    assert found.events[0] == b": hello\n\n"
    assert len(found.events) == 2
    assert found.output_tokens == 0
    document = found.document()
    assert isinstance(document, Problem)
    assert (document.status, document.type) == (500, "new_error")


@pytest.mark.parametrize(
    ("name", "use", "output", "service", "usd"),
    [
        ("claude-opus-5-5", InputUse(1_000_000), 1_000_000, Service(), 24),
        ("claude-opus-5-5", InputUse(0, 1_000_000, 1_000_000, 1_000_000), 0, Service(), 0.2 + 5 + 8),
        ("claude-opus-5-5", InputUse(1_000_000), 0, Service(speed="fast", inference_geo="us"), 8.8),
        ("claude-opus-5-5", InputUse(1_000_000), 1_000_000, Service("batch"), 12),
        ("claude-haiku-5-5", InputUse(50_000, 50_000), 0, Service(), 0.0055),
        ("claude-haiku-5-5", InputUse(50_000, 50_001), 0, Service(), 5 * 0.0055 + 5e-8),
        ("claude-mythos-preview", InputUse(1000), 10, Service("batch"), 0),
    ],
)
def test_prices(name: str, use: InputUse, output: int, service: Service, usd: float) -> None:
    model = load_catalogue().model(name)
    assert model is not None
    assert price_pico(model, use, output, service) / 1e12 == pytest.approx(usd)


def test_a_limit_refuses_when_it_is_reached_and_not_before() -> None:
    book, account = SpendBook({"organization": 1.0}), Account("acme", "blue")
    book.book(account, 10**12 - 1)
    assert book.refusal(account, FIXED_NOW_S) is None
    book.book(Account("acme", "red"), 1)
    refusal = book.refusal(account, FIXED_NOW_S)
    assert refusal is not None and refusal.message.endswith("2026-12-01 at 00:00 UTC.")
    assert book.refusal(Account("other"), FIXED_NOW_S) is None
    december_s = FIXED_NOW_S + 30 * 24 * 3600
    later = book.refusal(account, december_s)
    assert later is not None and "2027-01-01" in later.message
