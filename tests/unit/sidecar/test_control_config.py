"""Which configuration is in force."""

from __future__ import annotations

import logging

import msgspec
import pytest

from claudeops.errors import InvalidResource
from claudeops.proxyconfig import ModelChoice, ProxyConfig, Upstream, WorkloadKey, content_hash, encode_config
from claudeops.sidecar.config import ConfigHolder, decode_secret

CONFIG = ProxyConfig(
    revision=7,
    workload=WorkloadKey(namespace="support", name="bot"),
    upstream=Upstream(base_url="https://api.anthropic.com"),
    model=ModelChoice(name="claude-sonnet-5-5"),
)


class Taker:
    """Remembers what was put to work; refuses the model "unknown" as the runtime does."""

    def __init__(self) -> None:
        self.applied: list[int] = []

    def __call__(self, config: ProxyConfig) -> None:
        if config.model.name == "unknown":
            raise InvalidResource("unknown is not a model this proxy knows", path="model")
        self.applied.append(config.revision)


def at(revision: int, model: str = "claude-sonnet-5-5") -> ProxyConfig:
    return msgspec.structs.replace(CONFIG, revision=revision, model=ModelChoice(name=model))


def test_nothing_is_in_force_before_the_first_document() -> None:
    holder = ConfigHolder(Taker())
    assert (holder.revision, holder.current, holder.current_hash) == (0, None, "")


@pytest.mark.parametrize(("first", "second"), [("file", "exchange"), ("exchange", "file")])
def test_the_higher_revision_wins_whichever_way_it_came(first: str, second: str) -> None:
    taker = Taker()
    holder = ConfigHolder(taker)
    assert holder.offer(at(7), first)  # type: ignore[arg-type]
    assert holder.offer(at(8), second)  # type: ignore[arg-type]
    assert not holder.offer(at(7), first)  # type: ignore[arg-type]
    assert not holder.offer(at(8), first)  # type: ignore[arg-type]
    assert (taker.applied, holder.revision, holder.source) == ([7, 8], 8, second)


def test_the_hash_in_force_tells_what_the_document_says_and_not_its_revision() -> None:
    holder = ConfigHolder(Taker())
    holder.offer(at(7), "file")
    before = holder.current_hash
    holder.offer(at(8), "file")
    assert holder.current_hash == before == content_hash(CONFIG)


@pytest.mark.parametrize(
    "bad",
    [b"", b"{", b"[]", encode_config(at(9))[:-1], encode_config(at(9)).replace(b'"revision":9', b'"revision":"9"'), b'{"surprise":1}'],
)
def test_a_document_that_cannot_be_read_leaves_the_last_good_one_in_force(bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    holder = ConfigHolder(Taker())
    assert holder.offer_bytes(encode_config(at(7)), "file")
    with caplog.at_level(logging.ERROR):
        assert not holder.offer_bytes(bad, "file")
        assert not holder.offer_bytes(bad, "file")
    assert (holder.revision, holder.errors, holder.error_source) == (7, 1, "file")
    assert "proxy.json" in holder.error
    assert [record.getMessage() for record in caplog.records] == ["configuration refused, revision 7 stays in force"]


def test_a_document_that_cannot_be_used_is_refused_by_the_one_who_would_use_it() -> None:
    taker = Taker()
    holder = ConfigHolder(taker)
    holder.offer(at(7), "file")
    assert not holder.offer(at(8, "unknown"), "exchange")
    assert (holder.revision, taker.applied) == (7, [7])
    assert holder.error == "revision 8: model: unknown is not a model this proxy knows"


def test_an_error_is_over_when_its_source_is_good_again_and_not_before() -> None:
    holder = ConfigHolder(Taker())
    holder.offer(at(7), "file")
    holder.offer_bytes(b"{", "file")
    holder.offer(at(7), "exchange")
    assert holder.error_source == "file"
    assert not holder.offer(at(7), "file")
    assert (holder.error, holder.error_source, holder.errors) == ("", "", 1)


def test_a_newer_document_from_elsewhere_ends_the_error() -> None:
    holder = ConfigHolder(Taker())
    holder.offer_bytes(b"{", "file")
    assert holder.offer(at(8), "exchange")
    assert holder.error == ""


@pytest.mark.parametrize(("raw", "secret"), [(b"sk-ant-1", "sk-ant-1"), (b"  sk-ant-1\r\n", "sk-ant-1"), (b"~!\n", "~!")])
def test_a_secret_is_one_line_without_the_white_space_around_it(raw: bytes, secret: str) -> None:
    assert decode_secret(raw) == secret


@pytest.mark.parametrize(
    "raw", [b"", b" \n", b"sk-secret\nx-evil: 1", b"sk secret", b"sk-secret\x00", b"sk-secret\xff", "sk-secret-ü".encode()]
)
def test_a_secret_that_cannot_stand_in_a_header_is_refused_without_being_repeated(raw: bytes) -> None:
    with pytest.raises(InvalidResource) as caught:
        decode_secret(raw)
    assert "secret" not in str(caught.value) and "sk" not in str(caught.value)
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
