"""The configuration file: its keys, their defaults, and the frozen values they become.

Owns what an operator may write. Knows no format by itself (their names are an input) and nothing
of how a rule is carried out; whether one is about a request is :mod:`sidecar.rules.match`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    StrictBool,
    ValidationInfo,
)

from sidecar.core.policy import (
    FinishReason,
    Mode,
    OnEmpty,
    Policy,
    Quoted,
    Reasoning,
    StartsIn,
    ToolCalls,
    ToolResults,
    Unclosed,
    UnknownFields,
)
from sidecar.errors import Mistake
from sidecar.rules import strictyaml
from sidecar.rules.environment import expand
from sidecar.rules.match import Match, Tools
from sidecar.rules.strictyaml import Document
from sidecar.rules.validation import Given, NotEmpty, Section, did_you_mean, validate

# --- values -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. ``host`` is a name or an IP address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. There is none for a whole answer: a long one is not a broken one."""

    connect: float
    first_byte: float
    idle: float


@dataclass(frozen=True, slots=True)
class Upstream:
    """``base_url`` is what a client would use, without a slash at its end."""

    base_url: str
    api_key: str | None = field(repr=False)
    timeouts: Timeouts


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes."""

    request_body: int
    event: int
    promoted: int


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One rule as it is written: ``formats`` are names of formats and of groups."""

    name: str
    match: Match
    formats: tuple[str, ...]
    policy: Policy


@dataclass(frozen=True, slots=True)
class Config:
    """All that an operator decides. ``rules`` are ordered: the first that matches wins."""

    listen: Address
    admin: Address
    upstream: Upstream
    limits: Limits
    rules: tuple[RuleSpec, ...]
    paths: tuple[str, ...]
    response_headers: tuple[str, ...]


DEFAULT_FORMATS: Final = ("all",)

BUILT_IN_RULES: Final = (
    RuleSpec(
        name="tools-declared",
        match=Match(tools=Tools.DECLARED),
        formats=DEFAULT_FORMATS,
        policy=Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.DECLARED),
    ),
    RuleSpec(name="default", match=Match(), formats=DEFAULT_FORMATS, policy=Policy()),
)
"""The rules of a file without ``rules``. The first is for agents that run their own tools."""

# --- single values ------------------------------------------------------------------------------

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d{1,15})(B|KiB|MiB|GiB)?")
_BYTES: Final = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# The token of RFC 9110, section 5.6.2.
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


def _duration(value: object) -> float:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ValueError("expected a duration with its unit, such as 300ms, 5s, 2m or 1h")
    return seconds


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


def _rule_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "expected up to 63 lower-case letters, digits and hyphens, no hyphen first"
        )
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


def _known_format(name: str, info: ValidationInfo) -> str:
    known: Collection[str] = info.context["formats"] if info.context else DEFAULT_FORMATS
    if name not in known:
        raise ValueError(f"expected a format or a group{did_you_mean(name, sorted(known))}")
    return name


_AddressText: TypeAlias = Annotated[Address, BeforeValidator(parse_address, str)]
_Duration: TypeAlias = Annotated[float, BeforeValidator(_duration, str)]
_Size: TypeAlias = Annotated[int, BeforeValidator(_size, int | str)]
_Glob: TypeAlias = Annotated[str, AfterValidator(_glob)]
_Globs: TypeAlias = Annotated[
    tuple[_Glob, ...], NotEmpty, BeforeValidator(_as_list, str | list[str])
]
_ForwardedPath: TypeAlias = Annotated[_Glob, AfterValidator(_starting_with("/"))]
_MatchedPath: TypeAlias = Annotated[_Glob, AfterValidator(_starting_with("/", "*"))]
_Header: TypeAlias = Annotated[str, AfterValidator(_header)]
_EmptyAnswer: TypeAlias = Annotated[EmptyAnswer, PlainValidator(_on_empty, str | dict[str, str])]
_ReasoningFields: TypeAlias = Annotated[
    tuple[Literal["reasoning_content", "reasoning"], ...], NotEmpty, AfterValidator(_each_once)
]
_FormatName: TypeAlias = Annotated[str, AfterValidator(_known_format)]

# --- the file's sections, with their defaults ---------------------------------------------------


class TimeoutsSection(Section):
    """Durations such as ``5s``."""

    connect: _Duration = 5.0
    first_byte: _Duration = 300.0
    idle: _Duration = 300.0


class UpstreamSection(Section):
    """The endpoint that is asked."""

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="the upstream's URL, such as http://127.0.0.1:8000/v1"
    )
    api_key: Annotated[str, AfterValidator(_api_key)] | None = None
    timeouts: TimeoutsSection = TimeoutsSection()


class LimitsSection(Section):
    """Sizes such as ``32MiB``."""

    request_body: _Size = 32 * 1024**2
    event: _Size = 8 * 1024**2
    promoted: _Size = 64 * 1024


class MatchSection(Section):
    """What a request must be; all that is given must hold."""

    model: _Globs = ()
    path: Annotated[_MatchedPath | None, Given] = None
    headers: Annotated[dict[str, _Glob], AfterValidator(_headers)] = Field(default_factory=dict)
    tools: Annotated[Tools | None, Given] = None


_POLICY: Final = Policy()
_PLAIN_WISHES: Final = {wish.name for wish in fields(Policy)} - {"on_empty", "empty_text"}
"""The wishes that a rule has as a file writes them."""


class RuleSection(Section):
    """Which requests, which formats, and what becomes of each channel."""

    name: Annotated[str, AfterValidator(_rule_name)] = ""
    match: MatchSection = MatchSection()
    formats: tuple[_FormatName, ...] = DEFAULT_FORMATS
    reasoning: Reasoning = _POLICY.reasoning
    reasoning_fields: _ReasoningFields = ("reasoning_content",)
    tool_calls: ToolCalls = _POLICY.tool_calls
    tool_results: ToolResults = _POLICY.tool_results
    starts_in: StartsIn = _POLICY.starts_in
    unclosed: Unclosed = _POLICY.unclosed
    quoted: Quoted = _POLICY.quoted
    on_empty: _EmptyAnswer = EmptyAnswer(_POLICY.on_empty)
    finish_reason: FinishReason = _POLICY.finish_reason
    unknown_fields: UnknownFields = _POLICY.unknown_fields
    case_insensitive: StrictBool = _POLICY.case_insensitive
    attributes: StrictBool = _POLICY.attributes
    mode: Mode = _POLICY.mode

    @property
    def policy(self) -> Policy:
        """What becomes of each channel."""
        empty = self.on_empty
        wishes = {name: getattr(self, name) for name in _PLAIN_WISHES}
        return Policy(**wishes, on_empty=empty.wish, empty_text=empty.text)


class ConfigSection(Section):
    """The whole file."""

    version: Literal[1] = 1
    listen: _AddressText = Address("127.0.0.1", 8080)
    admin: _AddressText = Address("127.0.0.1", 9090)
    upstream: UpstreamSection = Field(description="a mapping with the upstream's base_url")
    limits: LimitsSection = LimitsSection()
    rules: tuple[RuleSection, ...] = ()
    paths: tuple[_ForwardedPath, ...] = ()
    response_headers: tuple[_Header, ...] = ()


# --- reading ------------------------------------------------------------------------------------


def load_config(
    path: Path, environment: Mapping[str, str], known_formats: Collection[str]
) -> Config:
    """The configuration in the file at ``path``; ``known_formats`` are what a rule may name.

    Raises :class:`~sidecar.errors.ConfigError` with all the mistakes of the file.
    """
    document, mistakes = expand(strictyaml.load(path), environment)
    also = (*mistakes, *_same_names(document), *_same_address(document))
    return _config(validate(document, ConfigSection, also=also, context={"formats": known_formats}))


def built_in_config(upstream: str) -> Config:
    """The defaults in front of the base URL ``upstream``; raises ``ConfigError`` if it is none."""
    document = Document("--upstream", {"upstream": {"base_url": upstream}})
    return _config(validate(document, ConfigSection))


def _default_name(index: int) -> str:
    return f"rule-{index + 1}"


def _same_names(document: Document) -> Iterator[Mistake]:
    rules = document.value.get("rules") if isinstance(document.value, dict) else None
    seen: dict[object, int] = {}
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        name = rule.get("name", _default_name(index)) if isinstance(rule, dict) else None
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            message = f"found {name!r}, expected a name of its own: rules.{seen[name]} has it"
            yield document.mistake(("rules", index, "name"), message)


def _same_address(document: Document) -> Iterator[Mistake]:
    value = document.value if isinstance(document.value, dict) else {}
    section = ConfigSection.model_fields
    listen = str(value.get("listen", section["listen"].default))
    admin = str(value.get("admin", section["admin"].default))
    if listen == admin and not listen.endswith(":0"):
        message = f"found {admin!r}, the same as listen, expected another port"
        yield document.mistake(("admin",), message)


def _config(section: ConfigSection) -> Config:
    rules = tuple(_rule(index, rule) for index, rule in enumerate(section.rules))
    return Config(
        listen=section.listen,
        admin=section.admin,
        upstream=_upstream(section.upstream),
        limits=_limits(section.limits),
        rules=rules if "rules" in section.model_fields_set else BUILT_IN_RULES,
        paths=section.paths,
        response_headers=section.response_headers,
    )


def _limits(section: LimitsSection) -> Limits:
    return Limits(section.request_body, section.event, section.promoted)


def _upstream(section: UpstreamSection) -> Upstream:
    timeouts = section.timeouts
    return Upstream(
        base_url=section.base_url,
        api_key=section.api_key or None,
        timeouts=Timeouts(timeouts.connect, timeouts.first_byte, timeouts.idle),
    )


def _rule(index: int, section: RuleSection) -> RuleSpec:
    match = section.match
    return RuleSpec(
        name=section.name or _default_name(index),
        match=Match(match.model, match.path, tuple(match.headers.items()), match.tools),
        formats=section.formats,
        policy=section.policy,
    )
