"""Who may ask, and from where: ``auth``, ``hosts``, ``cors`` and ``tls`` of the configuration file,
their keys, and the values they become. Without them everybody may who can connect.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    StrictBool,
    ValidationInfo,
    model_validator,
)

from sidecar.rules.certificates import BadCertificate, Tls, server_context
from sidecar.rules.configvalues import Duration, RuleName, is_name
from sidecar.rules.validation import Given, NotEmpty, Section

NO_CLIENT: Final = "none"
"""What metrics call whoever has shown no key, so that no client may be called so."""

_MAX_KEYS: Final = 64
"""Each is compared with each key that a request shows; and each client has its time series."""
_KEY = re.compile("[\x21-\x7e]{16,}")
_KEY_IS: Final = "16 or more visible ASCII characters"
_MAX_KEY_FILE: Final = 65_536
"""Bytes: many times what 64 keys need, so what is larger is another file."""

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.*]+\]|[A-Za-z0-9._*-]+)(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


# --- values -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A key that clients may show: its SHA-256, and what metrics and the log call them."""

    name: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Which pages of other origins may read answers; ``*`` alone is all of them. ``max_age``:
    seconds for which a browser need not ask again."""

    origins: tuple[str, ...]
    credentials: bool
    max_age: float


@dataclass(frozen=True, slots=True)
class Access:
    """``keys`` is empty if none is needed, ``hosts`` (in lower case) if there is no list.
    ``key_files`` are those that some of the keys stand in."""

    keys: tuple[ClientKey, ...] = ()
    hosts: tuple[str, ...] = ()
    cors: CorsPolicy | None = None
    tls: Tls | None = None
    key_files: tuple[Path, ...] = ()


# --- how they are written -----------------------------------------------------------------------


class _Entry(NamedTuple):
    """One entry of ``auth.keys``: the keys' digests, a name, empty if it has none, and the file
    that they stand in, if it is one."""

    name: str
    digests: tuple[bytes, ...]
    file: Path | None


def _entry(value: object, info: ValidationInfo) -> _Entry:
    # Judged here as a whole, so that no mistake shows a key of the mapping either: somebody may
    # have written {sk-…: mobile}.
    if not isinstance(value, dict) or len(value.keys() & {"key", "file"}) != 1:
        raise ValueError("expected {key: …} or {file: …}, with a name if you like")
    if not value.keys() <= {"key", "file", "name"}:
        raise ValueError("expected nothing but a name besides the key or the file")
    name = value.get("name", "")
    if "name" in value and (not is_name(name) or name == NO_CLIENT):
        raise ValueError(
            "expected a name of up to 63 lower-case letters, digits and hyphens, no hyphen first, "
            f"other than {NO_CLIENT!r}"
        )
    if "key" in value:
        return _Entry(name, (_digest(value["key"]),), None)
    folder = _folder(info)
    keys = tuple(map(_digest, _keys_in(value["file"], folder)))
    return _Entry(name, keys, folder / value["file"])


def _digest(key: object) -> bytes:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"expected a key of {_KEY_IS}")
    return hashlib.sha256(key.encode()).digest()


def _keys_in(name: object, folder: Path) -> Iterator[str]:
    """The keys in a file, one on each line. Nothing of it is shown, and not its name either: it
    may be the key itself."""
    expected = "expected a file with one key on each line, as seen from this file"
    if not isinstance(name, str):
        raise ValueError(expected)
    try:
        with _regular(folder / name).open("rb") as stream:
            data = stream.read(_MAX_KEY_FILE + 1)
        lines = data.decode().split("\n")
    except OSError as error:
        raise ValueError(f"{expected} ({(error.strerror or 'unknown error').lower()})") from None
    except ValueError:
        raise ValueError(f"{expected}, in UTF-8") from None
    if len(data) > _MAX_KEY_FILE:
        raise ValueError(f"{expected}, and no more than {_MAX_KEY_FILE} bytes")
    keys = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
    if not keys:
        raise ValueError(f"{expected}; it is empty")
    for number, key in keys.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"{expected}; line {number} is not {_KEY_IS}")
        yield key


def _each_key_once(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    digests = [digest for entry in entries for digest in entry.digests]
    if len(set(digests)) < len(digests):
        raise ValueError("found a key twice, expected each once")
    if len(digests) > _MAX_KEYS:
        raise ValueError(f"found more than {_MAX_KEYS} keys, expected fewer")
    return entries


def _host(host: str) -> str:
    if not _HOST.fullmatch(host):
        raise ValueError(
            "expected a host's name or a glob for it, such as llm.example.com, '*.example.com' or "
            "localhost:8080"
        )
    return host.lower()


def _origin(origin: str) -> str:
    if origin == "*":
        return origin
    expected = (
        "expected an origin as browsers write it, such as https://app.example.com or "
        "http://localhost:3000, or '*'"
    )
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(expected)
    parts = urlsplit(origin)
    if parts.port is not None and parts.port == _DEFAULT_PORTS.get(parts.scheme):
        raise ValueError(f"{expected}, without its scheme's own port")
    return origin


def _alone(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        raise ValueError("found '*' beside other origins, expected it alone: it means all")
    return origins


def _file(value: object, info: ValidationInfo) -> Path:
    expected = "expected a file that can be read, as seen from this file"
    if not isinstance(value, str):
        raise ValueError(expected)
    path = _folder(info) / value
    try:
        _regular(path).open("rb").close()
    except OSError as error:
        raise ValueError(f"{expected} ({(error.strerror or 'unknown error').lower()})") from None
    except ValueError:  # a NUL in it
        raise ValueError(expected) from None
    return path


def _regular(path: Path) -> Path:
    """``path``, unless to open it would wait for somebody who writes. Raises OSError."""
    if path.exists() and not path.is_file():
        raise OSError(0, "not a file")
    return path


def _folder(info: ValidationInfo) -> Path:
    folder: Path = info.context["folder"] if info.context else Path()
    return folder


class _KeySection(Section):
    """A key, from an environment variable."""

    key: str = Field(description=f"the key, such as ${{APP_KEY}}: {_KEY_IS}")
    name: RuleName = Field(default="", description="what metrics and the log call the client")


class _KeyFileSection(Section):
    """Keys of one client, in a file."""

    file: str = Field(description="a file with one key on each line")
    name: RuleName = Field(default="", description="what metrics and the log call the client")


KeyEntry: TypeAlias = Annotated[_Entry, PlainValidator(_entry, _KeySection | _KeyFileSection)]
HostGlob: TypeAlias = Annotated[str, AfterValidator(_host)]
_Origin: TypeAlias = Annotated[str, AfterValidator(_origin)]
_File: TypeAlias = Annotated[Path, PlainValidator(_file, str)]


class AuthSection(Section):
    """Keys of which a request must show one."""

    keys: Annotated[tuple[KeyEntry, ...], NotEmpty, AfterValidator(_each_key_once)] = Field(
        description="a list of {key: …} or {file: …}, each with a name if you like"
    )


class CorsSection(Section):
    """Pages of other origins that may read answers."""

    origins: Annotated[tuple[_Origin, ...], NotEmpty, AfterValidator(_alone)] = Field(
        description="the origins of the pages, such as https://app.example.com, or '*' for all"
    )
    credentials: StrictBool = Field(
        default=False, description="true: the pages may send cookies and client certificates"
    )
    max_age: Duration = Field(
        default=600.0, description="for how long a browser need not ask again (10m)"
    )

    @model_validator(mode="after")
    def _of_named_origins(self) -> CorsSection:
        if self.credentials and "*" in self.origins:
            raise ValueError(
                "found 'credentials: true' with the origin '*', expected the origins by name: "
                "browsers do not take both"
            )
        return self


class ServerTlsSection(Section):
    """PEM files; when they change, they are read again."""

    certificate: _File = Field(description="the file of the certificate and its chain, in PEM")
    key: _File = Field(description="the file of its private key, in PEM, without a password")
    client_ca: Annotated[_File | None, Given] = Field(
        default=None,
        description="the file of the authorities of which a client must have a certificate, in PEM",
    )

    @property
    def value(self) -> Tls:
        """The files."""
        return Tls(self.certificate, self.key, self.client_ca)

    @model_validator(mode="after")
    def _usable(self) -> ServerTlsSection:
        try:
            server_context(self.value)
        except BadCertificate as error:
            raise ValueError(str(error)) from None
        return self


# --- what they become ---------------------------------------------------------------------------


def access(
    auth: AuthSection | None,
    hosts: tuple[str, ...],
    cors: CorsSection | None,
    tls: ServerTlsSection | None,
) -> Access:
    """What the sections mean together."""
    return Access(
        keys=tuple(_keys(auth.keys)) if auth else (),
        hosts=hosts,
        cors=CorsPolicy(cors.origins, cors.credentials, cors.max_age) if cors else None,
        tls=tls.value if tls else None,
        key_files=tuple(entry.file for entry in auth.keys if entry.file) if auth else (),
    )


def _keys(entries: Iterable[_Entry]) -> Iterator[ClientKey]:
    for index, entry in enumerate(entries):
        for digest in entry.digests:
            yield ClientKey(entry.name or f"key-{index + 1}", digest)
