"""The configuration file: its keys, their defaults, and the frozen values they become.

Owns what an operator may write. Of formats it knows only the names, and it knows nothing of how
a rule is carried out; whether one is about a request is :mod:`sidecar.rules.match`'s.
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
    PositiveInt,
    StrictBool,
    ValidationInfo,
    WithJsonSchema,
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
from sidecar.rules.catalogue import format_ids
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
    """All that an operator decides. ``rules`` are ordered: the first that matches wins.

    ``formats`` is the folder of formats of the operator's own.
    """

    listen: Address
    admin: Address
    upstream: Upstream
    limits: Limits
    formats: Path | None
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


_AddressText: TypeAlias = Annotated[Address, BeforeValidator(parse_address, str)]
_Duration: TypeAlias = Annotated[
    float, BeforeValidator(_duration), _written(_DURATION, "300ms", "5s", "2m", "1h")
]
_SizeText: TypeAlias = Annotated[str, _written(_SIZE, "8KiB", "32MiB", "1GiB")]
_Size: TypeAlias = Annotated[int, BeforeValidator(_size, PositiveInt | _SizeText)]
_Glob: TypeAlias = Annotated[str, AfterValidator(_glob)]
_Globs: TypeAlias = Annotated[
    tuple[_Glob, ...], NotEmpty, BeforeValidator(_as_list, str | list[str])
]
_ForwardedPath: TypeAlias = Annotated[_Glob, AfterValidator(_starting_with("/"))]
_MatchedPath: TypeAlias = Annotated[_Glob, AfterValidator(_starting_with("/", "*"))]
_Header: TypeAlias = Annotated[str, AfterValidator(_header)]
_EmptyAnswer: TypeAlias = Annotated[
    EmptyAnswer, PlainValidator(_on_empty, Literal["allow", "promote", "error"] | _EmptyText)
]
_Folder: TypeAlias = Annotated[Path, PlainValidator(_folder, str)]
_ReasoningFields: TypeAlias = Annotated[
    tuple[Literal["reasoning_content", "reasoning"], ...], NotEmpty, AfterValidator(_each_once)
]
_FormatName: TypeAlias = Annotated[str, AfterValidator(_known_format)]

# --- the file's sections, with their defaults ---------------------------------------------------


class TimeoutsSection(Section):
    """Durations such as ``5s``."""

    connect: _Duration = Field(
        default=5.0, description="how long upstream may take to accept a connection (5s)"
    )
    first_byte: _Duration = Field(
        default=300.0, description="how long it may take to send its first byte (300s)"
    )
    idle: _Duration = Field(default=300.0, description="how long between two reads (300s)")


class UpstreamSection(Section):
    """The endpoint that is asked."""

    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="the upstream's URL, such as http://127.0.0.1:8000/v1"
    )
    api_key: Annotated[str, AfterValidator(_api_key)] | None = Field(
        default=None,
        description="sent as a bearer token instead of the client's own; empty: the client's goes "
        "through",
    )
    timeouts: TimeoutsSection = Field(
        default=TimeoutsSection(), description="durations such as 300ms, 5s, 2m or 1h"
    )


class LimitsSection(Section):
    """Sizes such as ``32MiB``."""

    request_body: _Size = Field(
        default=32 * 1024**2, description="of a chat request or a completion (32MiB)"
    )
    event: _Size = Field(
        default=8 * 1024**2,
        description="of one event of a stream, or of an answer that is not streamed (8MiB)",
    )
    promoted: _Size = Field(
        default=64 * 1024,
        description="of the reasoning that one answer keeps for 'on_empty: promote' (64KiB)",
    )


class MatchSection(Section):
    """What a request must be; all that is given must hold."""

    model: _Globs = Field(default=(), description="a glob for the model's name, or a list of them")
    path: Annotated[_MatchedPath | None, Given] = Field(
        default=None, description="a glob for the path"
    )
    headers: Annotated[dict[str, _Glob], AfterValidator(_headers)] = Field(
        default_factory=dict, description="pairs of a header's name and a glob for its value"
    )
    tools: Annotated[Tools | None, Given] = Field(
        default=None, description="whether the request declares tools"
    )


_POLICY: Final = Policy()
_PLAIN_WISHES: Final = {wish.name for wish in fields(Policy)} - {"on_empty", "empty_text"}
"""The wishes that a rule has as a file writes them."""


class RuleSection(Section):
    """Which requests, which formats, and what becomes of each channel."""

    name: Annotated[str, AfterValidator(_rule_name)] = Field(
        default="", description="what metrics and logs call the rule"
    )
    match: MatchSection = Field(
        default=MatchSection(), description="what a request must be; all that is given must hold"
    )
    formats: tuple[_FormatName, ...] = Field(
        default=DEFAULT_FORMATS,
        description="which model families to recognise in the text: ids of formats, and the groups "
        "all, reasoning and tools",
    )
    reasoning: Reasoning = Field(
        default=_POLICY.reasoning,
        description="what becomes of reasoning; move: out of the answer, into fields of its own",
    )
    reasoning_fields: _ReasoningFields = Field(
        default=("reasoning_content",), description="those fields: one or both"
    )
    tool_calls: ToolCalls = Field(
        default=_POLICY.tool_calls,
        description="what becomes of tool calls; declared: only calls to tools that the request "
        "declares stay; move: out of the answer's text, into delta.tool_calls",
    )
    tool_results: ToolResults = Field(
        default=_POLICY.tool_results, description="what becomes of tool results"
    )
    starts_in: StartsIn = Field(
        default=_POLICY.starts_in,
        description="where an answer begins; reasoning: the prompt's template has already opened "
        "it; auto: by what the request and the formats say",
    )
    unclosed: Unclosed = Field(
        default=_POLICY.unclosed,
        description="what becomes of a region that is still open when the answer ends",
    )
    quoted: Quoted = Field(
        default=_POLICY.quoted,
        description="what becomes of a marker in a code span or code fence of the visible answer",
    )
    on_empty: _EmptyAnswer = Field(
        default=EmptyAnswer(_POLICY.on_empty),
        description="what to do if nothing of an answer is left; promote: send the hidden "
        "reasoning; {text: …}: send that text",
    )
    finish_reason: FinishReason = Field(
        default=_POLICY.finish_reason,
        description="rewrite: tool_calls becomes stop when every call was stripped",
    )
    unknown_fields: UnknownFields = Field(
        default=_POLICY.unknown_fields,
        description="what becomes of JSON keys that the sidecar does not know",
    )
    case_insensitive: StrictBool = Field(
        default=_POLICY.case_insensitive,
        description="true: markers count in any case, so <THINK> is <think>",
    )
    attributes: StrictBool = Field(
        default=_POLICY.attributes,
        description='true: open tags count with attributes too, such as <think lang="en">',
    )
    mode: Mode = Field(
        default=_POLICY.mode, description="observe: change nothing, count what would be"
    )

    @property
    def policy(self) -> Policy:
        """What becomes of each channel."""
        empty = self.on_empty
        wishes = {name: getattr(self, name) for name in _PLAIN_WISHES}
        return Policy(**wishes, on_empty=empty.wish, empty_text=empty.text)


class ConfigSection(Section):
    """The sidecar's configuration."""

    version: Literal[1] = Field(default=1, description="of this file's language")
    listen: _AddressText = Field(
        default=Address("127.0.0.1", 8080), description="where clients connect, HOST:PORT"
    )
    admin: _AddressText = Field(
        default=Address("127.0.0.1", 9090),
        description="where /healthz, /readyz and /metrics are, HOST:PORT",
    )
    upstream: UpstreamSection = Field(description="a mapping with the upstream's base_url")
    limits: LimitsSection = Field(
        default=LimitsSection(), description="sizes such as 512B, 8KiB, 32MiB or a number of bytes"
    )
    formats: Annotated[_Folder | None, Given] = Field(
        default=None,
        description="a folder of format files of your own, as seen from this file; they are added "
        "to those that ship with the sidecar, and one of the same id takes its place",
    )
    rules: tuple[RuleSection, ...] = Field(
        default=(),
        description="tried in order, the first that matches wins; without this key, two built-in "
        "rules apply, and [] filters nothing",
    )
    paths: tuple[_ForwardedPath, ...] = Field(
        default=(),
        description="globs for paths that are forwarded besides the API under /v1, unfiltered",
    )
    response_headers: tuple[_Header, ...] = Field(
        default=(),
        description="response headers that pass on filtered answers besides the harmless ones",
    )


# --- reading ------------------------------------------------------------------------------------


def load_config(
    path: Path, environment: Mapping[str, str], known_formats: Collection[str]
) -> Config:
    """The configuration in the file at ``path``; ``known_formats`` are what a rule may name
    besides the formats of the operator's own.

    Raises :class:`~sidecar.errors.ConfigError` with all the mistakes of the file.
    """
    document, mistakes = expand(strictyaml.load(path), environment)
    also = (*mistakes, *_same_names(document), *_same_address(document))
    known = {*known_formats, *_own_formats(document, path.parent)}
    context = {"formats": known, "folder": path.parent}
    return _config(validate(document, ConfigSection, also=also, context=context))


def built_in_config(upstream: str) -> Config:
    """The defaults in front of the base URL ``upstream``; raises ``ConfigError`` if it is none."""
    document = Document("--upstream", {"upstream": {"base_url": upstream}})
    return _config(validate(document, ConfigSection))


def _own_formats(document: Document, folder: Path) -> list[str]:
    """The ids in the folder ``formats``, even where one of its files is wrong: that is told
    elsewhere, and is no mistake of a rule that names it."""
    own = document.value.get("formats") if isinstance(document.value, dict) else None
    return format_ids(folder / own) if isinstance(own, str) else []


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
        formats=section.formats,
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
