"""Single values of the configuration file: how each is written, and what is wrong with it.

The names in upper camel case are types for the sections of :mod:`sidecar.rules.config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    PositiveInt,
    ValidationInfo,
    WithJsonSchema,
)

from sidecar.core.policy import OnEmpty
from sidecar.rules.catalogue import format_ids
from sidecar.rules.validation import NotEmpty, Section, did_you_mean

DEFAULT_FORMATS: Final = ("all",)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. ``host`` is a name or an IP address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class WebSockets(StrEnum):
    """What becomes of a request to open a WebSocket, on a path that is served."""

    REFUSE = "refuse"
    PASS = "pass"
    """It goes to upstream, and nothing that it carries is filtered."""


class AccessLog(StrEnum):
    """How the line is written that tells of a request when it has ended."""

    JSON = "json"
    LOGFMT = "logfmt"
    OFF = "off"


MAX_MODELS: Final = 64
"""Models that metrics tell apart: each has about a hundred time series on each route."""

_MAX_COUNT: Final = 1_000_000
"""More file descriptors than any system gives to one process."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d{1,15})(B|KiB|MiB|GiB)?")
_BYTES: Final = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# The token of RFC 9110, section 5.6.2.
MODEL_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
"""What can be nothing but a model's name, in a label and in a log."""
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def parse_address(text: object) -> Address:
    """``HOST:PORT`` or ``[IPV6]:PORT``; port 0 is any that is free. Raises :class:`ValueError`."""
    host, _, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 65536
    if host in ("", "*") and number <= 65535:
        raise ValueError(f"expected a host too: write 0.0.0.0:{number} for all interfaces")
    if number > 65535 or not _is_host(host):
        raise ValueError("expected HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
    return Address(host.strip("[]"), number)


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return _HOST.fullmatch(host) is not None
    try:
        IPv6Address(host[1:].removesuffix("]"))
    except ValueError:
        return False
    return host.endswith("]")


def duration(value: object) -> float:
    """The seconds of a text such as ``300ms``. Raises :class:`ValueError`."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ValueError("expected a duration with its unit, such as 300ms, 5s, 2m or 1h")
    return seconds


def _duration_or_zero(value: object) -> float:
    if value in ("0", 0) and not isinstance(value, bool):
        return 0.0
    try:
        return duration(value)
    except ValueError:
        raise ValueError("expected 0 or a duration with its unit, such as 5s or 2m") from None


def _count(value: object) -> int:
    if type(value) is not int or not 0 < value <= _MAX_COUNT:
        raise ValueError(f"expected a number from 1 to {_MAX_COUNT}")
    return value


def _count_or_off(value: object) -> int | None:
    if value == "off":
        return None
    try:
        return _count(value)
    except ValueError as error:
        raise ValueError(f"{error}, or off") from None


def _size(value: object) -> int:
    is_size = isinstance(value, int | str) and not isinstance(value, bool)
    found = _SIZE.fullmatch(str(value)) if is_size else None
    size = int(found[1]) * _BYTES[found[2]] if found else 0
    if size <= 0:
        raise ValueError("expected a size, such as 512B, 8KiB, 32MiB, 1GiB or a number of bytes")
    return size


def _base_url(url: str) -> str:
    expected = "expected an http or https URL, such as http://127.0.0.1:8000/v1"
    if re.match(r"[^/?#]*//[^/?#]*@", url):
        # Not shown: it may hold a password.
        raise ValueError("found a user in the URL, expected one without; write api_key instead")
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError(f"{expected}, without spaces, control characters and backslashes")
    if "?" in url or "#" in url:
        raise ValueError("expected a URL without '?' and '#': paths are appended to it")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(expected)
    return url.rstrip("/")


def _api_key(key: str) -> str:
    if not re.fullmatch("[\x21-\x7e]*", key):
        raise ValueError("expected visible ASCII characters, as it is sent in a header")
    return key


def _glob(glob: str) -> str:
    if not glob:
        raise ValueError("expected a glob, such as '*' for anything")
    if "[" in glob:
        raise ValueError("expected a glob in which only * and ? have a meaning, without '['")
    return glob


def _starting_with(*starts: str) -> Callable[[str], str]:
    def check(path: str) -> str:
        if not path.startswith(starts):
            raise ValueError(f"expected a path that begins with {' or '.join(starts)}")
        return path

    return check


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def is_name(value: object) -> bool:
    """Whether it can name a rule or a client, in labels and in the log."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _rule_name(name: str) -> str:
    if not is_name(name):
        raise ValueError(
            "expected up to 63 lower-case letters, digits and hyphens, no hyphen first"
        )
    return name


def _model_name(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise ValueError("expected a model's name, of letters, digits and . _ : / @ -")
    return name


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError("expected the name of a header, such as x-request-id")
    return name.lower()


def _headers(globs: dict[str, str]) -> dict[str, str]:
    lower = {_header(name): glob for name, glob in globs.items()}
    if len(lower) < len(globs):
        raise ValueError("found a header twice, expected it once: upper and lower case are one")
    return lower


def _each_once(items: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(items)) < len(items):
        raise ValueError("found a field twice, expected each once")
    return items


class EmptyAnswer(NamedTuple):
    """What to do with an answer of which nothing is left; ``text`` is what TEXT sends."""

    wish: OnEmpty
    text: str = ""


_EMPTY_WORDS: Final = tuple(wish.value for wish in OnEmpty if wish is not OnEmpty.TEXT)
_MAX_EMPTY_TEXT: Final = 4096


def _on_empty(value: object) -> EmptyAnswer:
    if value in _EMPTY_WORDS:
        return EmptyAnswer(OnEmpty(value))
    if isinstance(value, dict) and value.keys() == {"text"}:
        text = value["text"]
        if isinstance(text, str) and text.strip() and len(text) <= _MAX_EMPTY_TEXT:
            return EmptyAnswer(OnEmpty.TEXT, text)
        raise ValueError(f"expected {{text: …}} with a text of 1 to {_MAX_EMPTY_TEXT} characters")
    suggestion = did_you_mean(value, _EMPTY_WORDS) if isinstance(value, str) else ""
    raise ValueError(f"expected {', '.join(map(repr, _EMPTY_WORDS))} or {{text: …}}{suggestion}")


def _folder(value: object, info: ValidationInfo) -> Path:
    folder: Path = info.context["folder"] if info.context else Path()
    if not isinstance(value, str) or not format_ids(folder / value):
        raise ValueError("expected a folder with *.yaml files of formats, as seen from this file")
    return folder / value


def _known_format(name: str, info: ValidationInfo) -> str:
    known: Collection[str] = info.context["formats"] if info.context else DEFAULT_FORMATS
    if name not in known:
        raise ValueError(f"expected a format or a group{did_you_mean(name, sorted(known))}")
    return name


class _EmptyText(Section):
    """A text to send if nothing of an answer is left."""

    text: str = Field(
        description="the text", json_schema_extra={"minLength": 1, "maxLength": _MAX_EMPTY_TEXT}
    )


def _written(pattern: re.Pattern[str], *examples: str) -> WithJsonSchema:
    """What a value looks like in the file, for an editor."""
    return WithJsonSchema(
        {"type": "string", "pattern": f"^(?:{pattern.pattern})$", "examples": list(examples)}
    )


AddressText: TypeAlias = Annotated[Address, BeforeValidator(parse_address, str)]
Duration: TypeAlias = Annotated[
    float, BeforeValidator(duration), _written(_DURATION, "300ms", "5s", "2m", "1h")
]
DurationOrZero: TypeAlias = Annotated[
    float, PlainValidator(_duration_or_zero, Duration | Literal[0])
]
Count: TypeAlias = Annotated[int, PlainValidator(_count, PositiveInt)]
CountOrOff: TypeAlias = Annotated[
    int | None, PlainValidator(_count_or_off, PositiveInt | Literal["off"])
]
_SizeText: TypeAlias = Annotated[str, _written(_SIZE, "8KiB", "32MiB", "1GiB")]
Size: TypeAlias = Annotated[int, BeforeValidator(_size, PositiveInt | _SizeText)]
Glob: TypeAlias = Annotated[str, AfterValidator(_glob)]
Globs: TypeAlias = Annotated[tuple[Glob, ...], NotEmpty, BeforeValidator(_as_list, str | list[str])]
ForwardedPath: TypeAlias = Annotated[Glob, AfterValidator(_starting_with("/"))]
MatchedPath: TypeAlias = Annotated[Glob, AfterValidator(_starting_with("/", "*"))]
HeaderName: TypeAlias = Annotated[str, AfterValidator(_header)]
EmptyAnswerText: TypeAlias = Annotated[
    EmptyAnswer, PlainValidator(_on_empty, Literal["allow", "promote", "error"] | _EmptyText)
]
Folder: TypeAlias = Annotated[Path, PlainValidator(_folder, str)]
ReasoningFields: TypeAlias = Annotated[
    tuple[Literal["reasoning_content", "reasoning"], ...], NotEmpty, AfterValidator(_each_once)
]
FormatName: TypeAlias = Annotated[str, AfterValidator(_known_format)]

BaseUrl: TypeAlias = Annotated[str, AfterValidator(_base_url)]
ApiKey: TypeAlias = Annotated[str, AfterValidator(_api_key)]
Headers: TypeAlias = Annotated[dict[str, Glob], AfterValidator(_headers)]
ModelName: TypeAlias = Annotated[str, AfterValidator(_model_name)]
RuleName: TypeAlias = Annotated[str, AfterValidator(_rule_name)]
