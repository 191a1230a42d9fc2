"""When certificates are renewed, what they carry, and what is trusted meanwhile."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from claudeops.controller.certificate_store import decode_authority, encode_authority
from claudeops.fleet.certificates import Authority, Pair, issue_authority, rotate
from claudeops.fleet.serving import ServingContext

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NAMES = {"exchange": ("claudeops-exchange.claudeops-system.svc",), "webhook": ("claudeops-injector.claudeops-system.svc",)}


@pytest.fixture(scope="module")
def fresh() -> Authority:
    return rotate(None, NAMES, NOW)


def test_nothing_is_renewed_before_it_is_due(fresh: Authority) -> None:
    assert rotate(fresh, NAMES, NOW + timedelta(days=274)) == fresh


def test_a_serving_pair_is_renewed_90_days_ahead_by_the_same_authority(fresh: Authority) -> None:
    later = rotate(fresh, NAMES, NOW + timedelta(days=276))
    assert later.current == fresh.current and later.bundle == fresh.bundle
    assert later.serving["exchange"] != fresh.serving["exchange"]
    later.serving["exchange"].parsed.verify_directly_issued_by(fresh.current.parsed)


def test_a_pair_is_renewed_when_its_names_change(fresh: Authority) -> None:
    moved = rotate(fresh, {**NAMES, "exchange": ("elsewhere.svc",)}, NOW)
    assert moved.serving["webhook"] == fresh.serving["webhook"]
    carried = moved.serving["exchange"].parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert carried.get_values_for_type(x509.DNSName) == ["elsewhere.svc"]


def test_a_new_authority_is_trusted_for_a_week_before_it_signs_and_the_old_one_a_week_after(fresh: Authority) -> None:
    due = NOW + timedelta(days=3650 - 89)
    announced = rotate(fresh, NAMES, due)
    assert announced.upcoming is not None and announced.current == fresh.current
    assert fresh.current.certificate in announced.bundle and announced.upcoming.certificate in announced.bundle
    assert rotate(announced, NAMES, due + timedelta(days=6)).current == fresh.current
    promoted = rotate(announced, NAMES, due + timedelta(days=7))
    assert promoted.current == announced.upcoming and promoted.upcoming is None
    promoted.serving["exchange"].parsed.verify_directly_issued_by(promoted.current.parsed)
    assert fresh.current.certificate in promoted.bundle
    settled = rotate(promoted, NAMES, due + timedelta(days=14))
    assert settled.bundle == promoted.current.certificate


@pytest.mark.parametrize("broken", [Pair("", ""), Pair("garbage", "garbage")])
def test_what_cannot_be_read_is_made_anew(fresh: Authority, broken: Pair) -> None:
    assert rotate(replace(fresh, serving={**fresh.serving, "exchange": broken}), NAMES, NOW).current == fresh.current
    rebuilt = rotate(replace(fresh, current=broken), NAMES, NOW)
    rebuilt.serving["exchange"].parsed.verify_directly_issued_by(rebuilt.current.parsed)


def test_a_pair_of_another_authority_is_not_served(fresh: Authority) -> None:
    other = rotate(None, NAMES, NOW)
    mixed = rotate(replace(fresh, serving=other.serving), NAMES, NOW)
    mixed.serving["exchange"].parsed.verify_directly_issued_by(fresh.current.parsed)


def test_an_expired_authority_is_replaced_at_once(fresh: Authority) -> None:
    assert rotate(fresh, NAMES, NOW + timedelta(days=3651)).current != fresh.current


@pytest.mark.parametrize("has_more", [False, True])
def test_what_the_secret_holds_is_what_was_put_in(fresh: Authority, has_more: bool) -> None:
    authority = replace(fresh, upcoming=issue_authority(NOW), previous_certificate=issue_authority(NOW).certificate) if has_more else fresh
    assert decode_authority(encode_authority(authority), NAMES) == authority


def test_an_empty_secret_holds_nothing() -> None:
    assert decode_authority({}, NAMES) is None


def shake_hands(server: ssl.SSLContext, bundle: str) -> str:
    """A handshake in memory; the certificate's serial number as the client saw it."""
    client = ssl.create_default_context(cadata=bundle)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_hostname=NAMES["exchange"][0])
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = here.getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_a_running_server_takes_a_new_pair_and_strict_clients_trust_both() -> None:
    now = datetime.now(UTC)
    authority = rotate(None, NAMES, now)
    serving = ServingContext()
    assert not serving.is_loaded
    assert serving.load(authority.serving["exchange"])
    first = shake_hands(serving.context, authority.bundle)
    assert not serving.load(authority.serving["exchange"])
    renewed = rotate(authority, {**NAMES, "exchange": (*NAMES["exchange"], "more.svc")}, now)
    assert serving.load(renewed.serving["exchange"])
    assert shake_hands(serving.context, authority.bundle) != first
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(serving.context, rotate(None, NAMES, now).bundle)
