"""The certificate of the listener: from its files to what OpenSSL works with.

Owns what is wrong with the files, in one sentence that quotes nothing of them. Read when the
configuration is, and again whenever the files change.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NO_PAIR: Final = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_TOO_WEAK: Final = ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the certificate with its chain, its private key, and the authorities of which a
    client must have a certificate, None if it needs none."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        two = (self.certificate, self.key)
        return two if self.client_ca is None else (*two, self.client_ca)


class BadCertificate(OSError):
    """What is wrong with the files of a certificate, in words that quote none of them."""


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer with HTTP/1.1 for a server of this certificate. Raises BadCertificate."""
    if not all(path.is_file() for path in tls.files):
        raise BadCertificate("one of the files of the certificate is not there")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client of TLS 1.2 could ask for one costly handshake after the other on its connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password given, OpenSSL asks for one at the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except ssl.SSLError as error:
        raise BadCertificate(_wrong_pair(tls, error.reason)) from None
    except OSError as error:
        raise BadCertificate(f"the certificate or its key cannot be read ({_why(error)})") from None
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, tls.client_ca, "client_ca")
    return context


def _wrong_pair(tls: Tls, reason: str | None) -> str:
    if reason in _NO_PAIR:
        return "key is not the private key of certificate"
    if reason in _TOO_WEAK:
        return f"certificate is too weak ({reason})"
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls.certificate, "certificate")
    return "key has no private key in PEM that can be read without a password"


def _trust(context: ssl.SSLContext, path: Path, key: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise BadCertificate(f"{key} has no certificate in PEM, or a damaged one") from None
    except OSError as error:
        raise BadCertificate(f"{key} cannot be read ({_why(error)})") from None


def _why(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()
