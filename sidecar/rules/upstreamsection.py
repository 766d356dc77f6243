"""The ``upstream`` of the configuration file: its keys, their defaults, and the value they become.

Files are read here only to say what is wrong with them; whoever connects reads them again.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, model_validator

from sidecar.rules.configvalues import ApiKey, BaseUrl, Duration
from sidecar.rules.validation import Given, Section

MAX_RETRIES: Final = 5
"""Beyond it, one request of a client would be a load of its own."""

MAX_SOCKET_PATH: Final = 107
"""Bytes: ``sun_path`` of unix(7) has 108, and the last is a zero."""

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_NAME: Final = 253
_LARGEST_KEY: Final = 1_048_576
"""Bytes of a file that a key is looked for in; it may have certificates too."""

# --- values -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. There is none for a whole answer: a long one is not a broken one."""

    connect: float
    first_byte: float
    idle: float


class Reuse(StrEnum):
    """Which connections may carry another request, if they are clean."""

    AUTO = "auto"
    """Those with TLS, whose handshake costs more than the request."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Tls:
    """``ca`` are those that upstream's certificate may be from, None for the system's.
    ``certificate`` and ``key``, both or none, are our own. ``server_name`` is who upstream must be,
    None for the host of the URL. ``digest`` is that of what the files said: other files make
    another value."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    digest: bytes = field(default=b"", repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.ca, self.certificate, self.key) if path is not None)

    def context(self) -> ssl.SSLContext:
        """What connects so. Raises OSError, of which ``ssl.SSLError`` is one, if a file is wrong.

        Blocks: files are read, be they the system's.
        """
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(["http/1.1"])
        if self.certificate is not None:
            # Without an answer of ours OpenSSL would ask the terminal for a password.
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        return context


@dataclass(frozen=True, slots=True)
class Upstream:
    """``base_url`` is what a client would use, without a slash at its end. ``unix_socket`` is
    connected to instead of its host, if there is one. ``retries`` are those of one request."""

    base_url: str
    api_key: str | None = field(repr=False)
    timeouts: Timeouts
    tls: Tls = Tls()
    unix_socket: Path | None = None
    reuse: Reuse = Reuse.AUTO
    retries: int = 0

    @property
    def is_https(self) -> bool:
        """Whether it is spoken to over TLS."""
        return _is_https(self.base_url)


def _is_https(base_url: str) -> bool:
    return base_url.lower().startswith("https:")


# --- how they are written -----------------------------------------------------------------------


def _path(value: object, info: ValidationInfo, expected: str) -> Path:
    """``value`` as seen from the file that it stands in."""
    folder: Path = info.context["folder"] if info.context else Path()
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected {expected}, as seen from this file")
    return folder / value


def _certificates(value: object, info: ValidationInfo) -> Path:
    path = _path(value, info, "a PEM file with certificates")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError("expected a PEM file with certificates, and there is none in it") from None
    except OSError as error:
        raise ValueError(_unreadable(error)) from None
    return path


def _key(value: object, info: ValidationInfo) -> Path:
    path = _path(value, info, "a PEM file with a private key")
    try:
        with path.open("rb") as file:
            is_pem = b"PRIVATE KEY-----" in file.read(_LARGEST_KEY)
    except OSError as error:
        raise ValueError(_unreadable(error)) from None
    if not is_pem:
        raise ValueError("expected a PEM file with a private key, and there is none in it")
    return path


def _digest(files: Iterable[Path]) -> bytes:
    """One of all; a file that has vanished meanwhile is found missing by whoever connects."""
    digest = hashlib.sha256()
    for path in files:
        with suppress(OSError):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def _unreadable(error: OSError) -> str:
    reason = (error.strerror or "unknown error").lower()
    return f"expected a file that can be read ({reason}), as seen from this file"


def _server_name(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        if len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, name.split("."))):
            raise ValueError("expected a host's name, such as api.example.com") from None
    return name


def _socket(value: object, info: ValidationInfo) -> Path:
    path = _path(value, info, "the path of a Unix socket")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ValueError(
            f"expected a path of up to {MAX_SOCKET_PATH} bytes, which is what a socket's may have"
        )
    return path


def _retries(value: object) -> int:
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_RETRIES:
        raise ValueError(f"expected a number from 0 to {MAX_RETRIES}")
    return number


_Certificates: TypeAlias = Annotated[Path, PlainValidator(_certificates, str)]
_Key: TypeAlias = Annotated[Path, PlainValidator(_key, str)]
_ServerName: TypeAlias = Annotated[str, AfterValidator(_server_name)]
_Socket: TypeAlias = Annotated[Path, PlainValidator(_socket, str)]
_Retries: TypeAlias = Annotated[
    int, PlainValidator(_retries, Annotated[int, Field(ge=0, le=MAX_RETRIES)])
]


class TimeoutsSection(Section):
    """Durations such as ``5s``."""

    connect: Duration = Field(
        default=5.0, description="how long upstream may take to accept a connection (5s)"
    )
    first_byte: Duration = Field(
        default=300.0, description="how long it may take to send its first byte (300s)"
    )
    idle: Duration = Field(default=300.0, description="how long between two reads (300s)")


class TlsSection(Section):
    """Files are seen from the file of the configuration."""

    ca: Annotated[_Certificates | None, Given] = Field(
        default=None,
        description="a PEM file with the authorities that upstream's certificate may be from; "
        "without it, the system's",
    )
    certificate: Annotated[_Certificates | None, Given] = Field(
        default=None,
        description="a PEM file with the certificate that upstream asks us for, and its chain",
    )
    key: Annotated[_Key | None, Given] = Field(
        default=None, description="a PEM file with its private key, without a password"
    )
    server_name: Annotated[_ServerName | None, Given] = Field(
        default=None,
        description="the name that is asked for (SNI) and that upstream's certificate must have; "
        "without it, the host of base_url",
    )

    @model_validator(mode="after")
    def _belong_together(self) -> TlsSection:
        if (self.certificate is None) != (self.key is None):
            missing = "key" if self.key is None else "certificate"
            raise ValueError(f"{missing} is missing, expected certificate and key or neither")
        if self.certificate is not None:
            try:
                self.value.context()
            except OSError:
                raise ValueError(
                    "found a key that does not fit the certificate or has a password, expected the "
                    "certificate's own key without one"
                ) from None
        return self

    @property
    def value(self) -> Tls:
        """What it becomes."""
        tls = Tls(self.ca, self.certificate, self.key, self.server_name)
        return replace(tls, digest=_digest(tls.files))


class UpstreamSection(Section):
    """The endpoint that is asked."""

    base_url: BaseUrl = Field(description="the upstream's URL, such as http://127.0.0.1:8000/v1")
    api_key: ApiKey | None = Field(
        default=None,
        description="sent as a bearer token instead of the client's own, and instead of its "
        "x-api-key; empty: the client's go through",
    )
    timeouts: TimeoutsSection = Field(
        default=TimeoutsSection(), description="durations such as 300ms, 5s, 2m or 1h"
    )
    tls: Annotated[TlsSection | None, Given] = Field(
        default=None, description="whom to trust, and who we are, where base_url is https"
    )
    unix_socket: Annotated[_Socket | None, Given] = Field(
        default=None,
        description="a Unix socket, as seen from this file, to connect to; base_url still gives "
        "the host that is named and the path",
    )
    reuse: Reuse = Field(
        default=Reuse.AUTO,
        description="which connections carry another request, if nothing came on them unasked; "
        "auto: those with TLS",
    )
    retries: _Retries = Field(
        default=0,
        description="how often a request is sent again that could not be sent, or was answered "
        "with 502, 503, 504, or 429 with a Retry-After (0)",
    )

    @model_validator(mode="after")
    def _belong_together(self) -> UpstreamSection:
        if self.tls is not None and not _is_https(self.base_url):
            raise ValueError("found tls with a base_url of http, expected one of https")
        if self.unix_socket is not None and _is_https(self.base_url):
            raise ValueError(
                "found unix_socket with a base_url of https, expected one of http: a socket of "
                "this machine is spoken to without TLS"
            )
        return self

    @property
    def value(self) -> Upstream:
        """What it becomes."""
        timeouts = self.timeouts
        return Upstream(
            base_url=self.base_url,
            api_key=self.api_key or None,
            timeouts=Timeouts(timeouts.connect, timeouts.first_byte, timeouts.idle),
            tls=Tls() if self.tls is None else self.tls.value,
            unix_socket=self.unix_socket,
            reuse=self.reuse,
            retries=self.retries,
        )
