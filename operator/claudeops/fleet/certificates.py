"""The operator's own small authority: what to renew, and when. Pure but for the keys' randomness; storing is :mod:`.certificate_store`.

A CA lives 10 years, a serving certificate one; both are renewed 90 days ahead. A new CA is published beside the old one for 7 days
before it signs anything, and the old one stays published for 7 days after: a proxy that was away for a week still trusts us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE: Final = timedelta(days=3650)
SERVING_LIFE: Final = timedelta(days=365)
RENEW_AHEAD: Final = timedelta(days=90)
OVERLAP: Final = timedelta(days=7)
_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str

    @property
    def parsed(self) -> x509.Certificate:
        """Raises ``ValueError`` when it is none."""
        return x509.load_pem_x509_certificate(self.certificate.encode())


@dataclass(frozen=True)
class Authority:
    """All that the Secret holds. ``serving`` maps a short name (``exchange``, ``webhook``) to its pair."""

    current: Pair
    serving: Mapping[str, Pair]
    upcoming: Pair | None = None
    previous_certificate: str = ""

    @property
    def bundle(self) -> str:
        """PEM text of every CA that must be trusted now; the order never changes the meaning."""
        upcoming = self.upcoming.certificate if self.upcoming else ""
        return self.current.certificate + upcoming + self.previous_certificate


def rotate(authority: Authority | None, names: Mapping[str, tuple[str, ...]], now: datetime) -> Authority:
    """The authority as it must be now; equal to the argument when nothing is due.

    ``names`` maps each serving pair to the DNS names that it must carry.
    """
    if authority is None or not _is_usable(authority.current, now):
        authority = Authority(issue_authority(now), {})
    authority = _rotate_authority(authority, now)
    serving: dict[str, Pair] = {}
    for name, dns in names.items():
        pair = authority.serving.get(name)
        is_good = pair is not None and _serves(pair, authority.current, dns, now)
        serving[name] = pair if pair is not None and is_good else issue_serving(authority.current, dns, now)
    return authority if serving == dict(authority.serving) else replace(authority, serving=serving)


def _rotate_authority(authority: Authority, now: datetime) -> Authority:
    """Announces, promotes or retires a CA where that is due."""
    upcoming = authority.upcoming
    if upcoming is None and _ends_soon(authority.current, now):
        authority = replace(authority, upcoming=issue_authority(now))
    elif upcoming is not None and now - upcoming.parsed.not_valid_before_utc >= OVERLAP:
        authority = replace(authority, current=upcoming, upcoming=None, previous_certificate=authority.current.certificate)
    age = now - authority.current.parsed.not_valid_before_utc
    if authority.previous_certificate and age >= 2 * OVERLAP:
        authority = replace(authority, previous_certificate="")
    return authority


def issue_authority(now: datetime) -> Pair:
    """A new self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"claudeops CA {now:%Y-%m-%d}")])
    builder = _builder(name, name, key.public_key(), now, CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(is_authority=True), critical=True)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue_serving(authority: Pair, names: tuple[str, ...], now: datetime) -> Pair:
    """A serving pair for the DNS names, signed by ``authority``."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.parsed
    issuer_key = serialization.load_pem_private_key(authority.key.encode(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _builder(subject, issuer.subject, key.public_key(), now, SERVING_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(is_authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return _pair(builder.add_extension(identifier, critical=False).sign(issuer_key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key, serial_number=x509.random_serial_number())
    builder = builder.not_valid_before(now - _SKEW).not_valid_after(now + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(pem).decode(), private.decode())


def _is_usable(pair: Pair, now: datetime) -> bool:
    try:
        serialization.load_pem_private_key(pair.key.encode(), None)
        return pair.parsed.not_valid_after_utc > now
    except ValueError:
        return False


def _ends_soon(pair: Pair, now: datetime) -> bool:
    return pair.parsed.not_valid_after_utc - now < RENEW_AHEAD


def _serves(pair: Pair, authority: Pair, names: tuple[str, ...], now: datetime) -> bool:
    if not _is_usable(pair, now) or _ends_soon(pair, now):
        return False
    certificate = pair.parsed
    try:
        certificate.verify_directly_issued_by(authority.parsed)
        carried = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return set(names) <= set(carried)
