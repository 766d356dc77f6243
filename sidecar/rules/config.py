"""The configuration file: its keys, their defaults, and the frozen values they become.

Owns what an operator may write. Of formats it knows only the names, and it knows nothing of how
a rule is carried out; whether one is about a request is :mod:`sidecar.rules.match`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, StrictBool

from sidecar.core.policy import (
    EncryptedReasoning,
    Errors,
    FinishReason,
    Mode,
    Policy,
    Quoted,
    Reasoning,
    StartsIn,
    ToolCalls,
    ToolResults,
    Unclosed,
    Unknown,
    UnknownFields,
)
from sidecar.errors import Mistake
from sidecar.rules import strictyaml
from sidecar.rules.accesssection import (
    Access,
    AuthSection,
    CorsSection,
    HostGlob,
    ServerTlsSection,
    access,
)
from sidecar.rules.catalogue import format_ids
from sidecar.rules.configvalues import (
    DEFAULT_FORMATS,
    MAX_MODELS,
    AccessLog,
    Address,
    AddressText,
    Count,
    CountOrOff,
    Duration,
    DurationOrZero,
    EmptyAnswer,
    EmptyAnswerText,
    Folder,
    FormatName,
    ForwardedPath,
    Globs,
    HeaderName,
    Headers,
    MatchedPath,
    ModelName,
    ReasoningFields,
    RuleName,
    Size,
    WebSockets,
)
from sidecar.rules.environment import expand
from sidecar.rules.match import Match, Tools
from sidecar.rules.requestfields import FieldAction, RequestFields
from sidecar.rules.statussection import (
    DEFAULT_STATUS,
    STATUS_OF_TOOLS,
    StatusSection,
    StatusSpec,
    status_spec,
)
from sidecar.rules.strictyaml import Document
from sidecar.rules.upstreamsection import Upstream, UpstreamSection
from sidecar.rules.validation import Given, Section, validate

# --- values -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, but for the numbers of answers under way: ``streams`` in all, and those of one client,
    None if that is not limited."""

    request_body: int
    event: int
    promoted: int
    streams: int
    streams_per_client: int | None


@dataclass(frozen=True, slots=True)
class Drain:
    """Seconds: how long new requests are still served once the end has been asked for, and how long
    the answers under way may take from then on."""

    delay: float
    timeout: float


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One rule as it is written: ``formats`` are names of formats and of groups, and
    ``request_fields`` says, by their names in lower case, what becomes of fields of a request where
    that is not the default."""

    name: str
    match: Match
    formats: tuple[str, ...]
    policy: Policy
    status: StatusSpec = DEFAULT_STATUS
    request_fields: Mapping[str, FieldAction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """All that an operator decides. ``rules`` are ordered: the first that matches wins.

    ``formats`` is the folder of formats of the operator's own. ``models`` are those that metrics
    tell apart, None if upstream is asked.
    """

    listen: Address
    reuse_port: bool
    admin: Address
    upstream: Upstream
    limits: Limits
    write_timeout: float
    """Seconds in which a client must take something of what is written to it."""
    drain: Drain
    formats: Path | None
    access_log: AccessLog
    models: tuple[str, ...] | None
    rules: tuple[RuleSpec, ...]
    paths: tuple[str, ...]
    response_headers: tuple[str, ...]
    websocket: WebSockets
    access: Access
    playground: bool
    """Whether the admin port has a page that asks upstream, and shows what the rules hide."""


BUILT_IN_RULES: Final = (
    RuleSpec(
        name="tools-declared",
        match=Match(tools=Tools.DECLARED),
        formats=DEFAULT_FORMATS,
        policy=Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.DECLARED),
        status=STATUS_OF_TOOLS,
    ),
    RuleSpec(name="default", match=Match(), formats=DEFAULT_FORMATS, policy=Policy()),
)
"""The rules of a file without ``rules``. The first is for agents that run their own tools."""

# --- the file's sections, with their defaults ---------------------------------------------------


class LimitsSection(Section):
    """Sizes such as ``32MiB``."""

    request_body: Size = Field(
        default=32 * 1024**2, description="of a request whose answer is filtered (32MiB)"
    )
    event: Size = Field(
        default=8 * 1024**2,
        description="of one event of a stream, of one message of a WebSocket, or of an answer that "
        "is not streamed (8MiB)",
    )
    promoted: Size = Field(
        default=64 * 1024,
        description="of the reasoning that one answer keeps for 'on_empty: promote' (64KiB)",
    )
    streams: Count = Field(
        default=4096, description="how many answers may be under way at a time (4096)"
    )
    streams_per_client: CountOrOff = Field(
        default=None,
        description="how many of them for one client, by its key or else its address (off)",
    )


class DrainSection(Section):
    """Durations such as ``5s``."""

    delay: DurationOrZero = Field(
        default=5.0,
        description="after SIGTERM, how long new requests are still served while /readyz says that "
        "there should be none (5s)",
    )
    timeout: DurationOrZero = Field(
        default=300.0,
        description="how long the answers under way may then take until they end with an error "
        "(300s)",
    )


class MatchSection(Section):
    """What a request must be; all that is given must hold."""

    model: Globs = Field(default=(), description="a glob for the model's name, or a list of them")
    path: Annotated[MatchedPath | None, Given] = Field(
        default=None, description="a glob for the path"
    )
    headers: Headers = Field(
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

    name: RuleName = Field(default="", description="what metrics and logs call the rule")
    match: MatchSection = Field(
        default=MatchSection(), description="what a request must be; all that is given must hold"
    )
    formats: tuple[FormatName, ...] = Field(
        default=DEFAULT_FORMATS,
        description="which model families to recognise in the text: ids of formats, and the groups "
        "all, reasoning and tools",
    )
    reasoning: Reasoning = Field(
        default=_POLICY.reasoning,
        description="what becomes of reasoning; move: out of the answer, into fields of its own",
    )
    reasoning_fields: ReasoningFields = Field(
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
    on_empty: EmptyAnswerText = Field(
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
    encrypted_reasoning: EncryptedReasoning = Field(
        default=_POLICY.encrypted_reasoning,
        description="what becomes of dropped reasoning's encrypted_content, which a client without "
        "state must send back with its next request",
    )
    errors: Errors = Field(
        default=_POLICY.errors,
        description="the words of an upstream's error; own: one sentence of the sidecar's for each "
        "class of errors",
    )
    unknown: Unknown = Field(
        default=_POLICY.unknown,
        description="what becomes of a streamed answer, or an event of one, that cannot be read",
    )
    case_insensitive: StrictBool = Field(
        default=_POLICY.case_insensitive,
        description="true: markers count in any case, so <THINK> is <think>",
    )
    attributes: StrictBool = Field(
        default=_POLICY.attributes,
        description='true: open tags count with attributes too, such as <think lang="en">',
    )
    spaced_tags: StrictBool = Field(
        default=_POLICY.spaced_tags,
        description="true: tags count with white space in them too, such as < think >",
    )
    html_escaped: StrictBool = Field(
        default=_POLICY.html_escaped,
        description="true: tags count HTML-escaped too, such as &lt;think&gt;",
    )
    mode: Mode = Field(
        default=_POLICY.mode,
        description="observe: change nothing, count what would be (/admin/observed)",
    )

    status: Annotated[StatusSection | None, Given] = Field(
        default=None,
        description="what a person is told meanwhile: the keys of 'status' at the top, which these "
        "override",
    )
    request_fields: RequestFields = Field(
        default_factory=dict,
        description="what becomes of fields of the request's body, by their names, where that is "
        "not the default; drop: upstream does not get it",
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
    listen: AddressText = Field(
        default=Address("127.0.0.1", 8080), description="where clients connect, HOST:PORT"
    )
    reuse_port: StrictBool = Field(
        default=False,
        description="true: other processes may listen on the same address, each with an admin port "
        "of its own",
    )
    admin: AddressText = Field(
        default=Address("127.0.0.1", 9090),
        description="where /healthz, /readyz, /metrics and /admin/observed are, HOST:PORT",
    )
    playground: StrictBool = Field(
        default=False,
        description="true: a page at http://ADMIN/playground shows an answer from both sides; who "
        "reaches the admin port can then send prompts upstream and see what the rules hide",
    )
    upstream: UpstreamSection = Field(description="a mapping with the upstream's base_url")
    limits: LimitsSection = Field(
        default=LimitsSection(),
        description="sizes such as 512B, 8KiB, 32MiB or a number of bytes, and numbers of answers",
    )
    write_timeout: Duration = Field(
        default=60.0,
        description="a client that takes nothing of what is written to it for so long is cut off "
        "(60s)",
    )
    drain: DrainSection = Field(
        default=DrainSection(), description="how the sidecar ends after SIGTERM"
    )
    formats: Annotated[Folder | None, Given] = Field(
        default=None,
        description="a folder of format files of your own, as seen from this file; they are added "
        "to those that ship with the sidecar, and one of the same id takes its place",
    )
    status: StatusSection = Field(
        default_factory=StatusSection,
        description="what a person is told while nothing of the answer can be shown, for all rules",
    )
    access_log: AccessLog = Field(
        default=AccessLog.JSON, description="how the line of a request is written, on stdout"
    )
    models: Annotated[tuple[ModelName, ...] | None, Given] = Field(
        default=None,
        max_length=MAX_MODELS,
        description="the models that metrics call by their names; without this key those that "
        "upstream lists (GET /models)",
    )
    rules: tuple[RuleSection, ...] = Field(
        default=(),
        description="tried in order, the first that matches wins; without this key, two built-in "
        "rules apply, and [] filters nothing",
    )
    paths: tuple[ForwardedPath, ...] = Field(
        default=(),
        description="globs for paths that are forwarded besides the API under /v1, unfiltered",
    )
    response_headers: tuple[HeaderName, ...] = Field(
        default=(),
        description="response headers that pass on filtered answers besides the harmless ones",
    )
    websocket: WebSockets = Field(
        default=WebSockets.REFUSE,
        description="what becomes of WebSockets, such as /v1/realtime; pass: to upstream, and "
        "nothing in them is filtered",
    )
    auth: Annotated[AuthSection | None, Given] = Field(
        default=None, description="keys of which a request must show one; without it, none"
    )
    hosts: tuple[HostGlob, ...] = Field(
        default=(),
        description="the names by which the sidecar may be asked (Host), as globs, with a port if "
        "only that one; without it, all, and on loopback all but those of browsers' attacks",
    )
    cors: Annotated[CorsSection | None, Given] = Field(
        default=None,
        description="pages of other origins that may read answers; without it, upstream decides",
    )
    tls: Annotated[ServerTlsSection | None, Given] = Field(
        default=None, description="PEM files with which clients are served by https"
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
    rules = tuple(_rule(index, rule, section.status) for index, rule in enumerate(section.rules))
    return Config(
        listen=section.listen,
        reuse_port=section.reuse_port,
        admin=section.admin,
        upstream=section.upstream.value,
        limits=_limits(section.limits),
        write_timeout=section.write_timeout,
        drain=Drain(section.drain.delay, section.drain.timeout),
        formats=section.formats,
        access_log=section.access_log,
        models=section.models,
        rules=rules if "rules" in section.model_fields_set else _built_in(section.status),
        paths=section.paths,
        response_headers=section.response_headers,
        websocket=section.websocket,
        access=access(section.auth, section.hosts, section.cors, section.tls),
        playground=section.playground,
    )


def _built_in(status: StatusSection) -> tuple[RuleSpec, ...]:
    """The built-in rules, of which the one for people is as the file wishes it."""
    of_tools, default = BUILT_IN_RULES
    return of_tools, replace(default, status=status_spec(status))


def _limits(section: LimitsSection) -> Limits:
    return Limits(**{limit.name: getattr(section, limit.name) for limit in fields(Limits)})


def _rule(index: int, section: RuleSection, status: StatusSection) -> RuleSpec:
    match = section.match
    return RuleSpec(
        name=section.name or _default_name(index),
        match=Match(match.model, match.path, tuple(match.headers.items()), match.tools),
        formats=section.formats,
        policy=section.policy,
        status=status_spec(status, section.status),
        request_fields=section.request_fields,
    )
