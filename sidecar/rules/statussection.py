"""The ``status`` of the configuration file, at the top and in a rule: its keys, their defaults, and
the values they become. A rule's keys override those at the top; what neither says is the default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import Field, PlainValidator

from sidecar.core.progress import Phase
from sidecar.core.status import NO_STATUSES, Beat, Form, StatusPolicy
from sidecar.core.statustext import DEFAULT_TEXTS, StatusText, StatusTexts
from sidecar.rules.configvalues import Duration, Glob, duration
from sidecar.rules.language import chosen_language
from sidecar.rules.validation import Given, Section

MAX_TEXT: Final = 200
"""Characters of a text: a status has one line."""

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,4}")
_PLACEHOLDERS = "{tool} and {args.NAME} are known only of a call: in calling_tool and in tools"


class Header(StrEnum):
    """Whether a request may choose the form of its statuses; it may always have none."""

    OFF = "off"
    CHOOSE = "choose"


class Sources(StrEnum):
    """Whether the sources of an answer are shown, as statuses."""

    OFF = "off"
    STATUS = "status"


# --- values -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextByLanguage:
    """One text: by language, in lower case, and the one for all other languages."""

    otherwise: StatusText
    languages: Mapping[str, StatusText]

    def of(self, language: str) -> StatusText:
        """The text in a language."""
        return self.languages.get(language, self.otherwise)


@dataclass(frozen=True, slots=True)
class StatusSpec:
    """What a rule wishes of statuses: ``policies`` are the same in each language that it has texts
    in, in lower case, and ``otherwise`` is that for all others."""

    otherwise: StatusPolicy
    policies: Mapping[str, StatusPolicy]

    def policy(self, accept_language: str) -> StatusPolicy:
        """What a request wants with this ``Accept-Language``, empty if it has none."""
        language = chosen_language(accept_language, self.policies) if self.policies else None
        return self.otherwise if language is None else self.policies[language]


DEFAULT_STATUS: Final = StatusSpec(StatusPolicy(), {})
STATUS_OF_TOOLS: Final = StatusSpec(StatusPolicy(form=Form.OFF, first_after=None), {})
"""Of programs that run tools: they would lose their own retries, and nobody would look."""
SILENT: Final = StatusSpec(NO_STATUSES, {})


# --- how they are written -----------------------------------------------------------------------


def _text(value: object, *, of_call: bool) -> StatusText:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value.isprintable()):
        raise ValueError(f"expected one line of text, of up to {MAX_TEXT} characters")
    text = StatusText(value)
    if text.placeholders and not of_call:
        raise ValueError(_PLACEHOLDERS)
    return text


def _by_language(value: object, *, of_call: bool) -> TextByLanguage:
    if not isinstance(value, dict):
        return TextByLanguage(_text(value, of_call=of_call), {})
    if not value:
        raise ValueError("expected a text, or a mapping of languages to texts")
    for language in value:
        if not _LANGUAGE.fullmatch(language):
            raise ValueError(f"expected languages such as en or pt-BR as keys, not {language!r}")
    languages = {key.lower(): _text(text, of_call=of_call) for key, text in value.items()}
    return TextByLanguage(next(iter(languages.values())), languages)


def _plain_text(value: object) -> TextByLanguage:
    return _by_language(value, of_call=False)


def _text_of_call(value: object) -> TextByLanguage:
    return _by_language(value, of_call=True)


def _seconds_or_off(value: object, *, least: float) -> float | None:
    if value == "off":
        return None
    if value in ("0", 0) and least == 0:
        return 0.0
    try:
        return duration(value)
    except ValueError:
        also = "0 or off" if least == 0 else "or off"
        raise ValueError(f"expected a duration such as 200ms or 15s, {also}") from None


def _first_after(value: object) -> float | None:
    return _seconds_or_off(value, least=0)


class Heartbeat(NamedTuple):
    """``every``: seconds, None for never."""

    every: float | None
    beat: Beat


def _heartbeat(value: object) -> Heartbeat:
    if not isinstance(value, dict):
        return Heartbeat(_seconds_or_off(value, least=1), Beat.COMMENT)
    if not (value.keys() <= {"every", "as"}):
        raise ValueError("expected a duration, off, or {every: …, as: comment | chunk | status}")
    beat = value.get("as", Beat.COMMENT.value)
    if beat not in list(Beat):
        raise ValueError("expected 'comment', 'chunk' or 'status' for 'as'")
    return Heartbeat(_seconds_or_off(value.get("every", "15s"), least=1), Beat(beat))


class _HeartbeatSection(Section):
    """When a heartbeat is sent, and what it is."""

    every: Duration = Field(default=15.0, description="after how long without a byte (15s)")
    written: Beat = Field(default=Beat.COMMENT, alias="as", description="what is sent")


_FirstAfter: TypeAlias = Annotated[
    float | None, PlainValidator(_first_after, Duration | Literal[0, "off"])
]
_Heartbeat: TypeAlias = Annotated[
    Heartbeat, PlainValidator(_heartbeat, Duration | Literal["off"] | _HeartbeatSection)
]
_Text: TypeAlias = Annotated[TextByLanguage, PlainValidator(_plain_text, str | dict[str, str])]
_TextOfCall: TypeAlias = Annotated[
    TextByLanguage, PlainValidator(_text_of_call, str | dict[str, str])
]


class TextsSection(Section):
    """The texts of the phases, each a text or a mapping of languages to texts."""

    waiting: Annotated[_Text | None, Given] = Field(
        default=None, description="until upstream says anything (Thinking…)"
    )
    thinking: Annotated[_Text | None, Given] = Field(
        default=None, description="while it reasons (Thinking…)"
    )
    calling_tool: Annotated[_TextOfCall | None, Given] = Field(
        default=None, description="while it writes a call; {tool} is its name (Calling {tool}…)"
    )
    tools: dict[Glob, _TextOfCall] = Field(
        default_factory=dict,
        description="the same by globs for the tool's name; {args.NAME} is an argument of the call",
    )
    reading_result: Annotated[_Text | None, Given] = Field(
        default=None, description="when a tool has returned (Reading the result…)"
    )
    answering: Annotated[_Text | None, Given] = Field(
        default=None, description="when the answer begins (empty)"
    )
    done: Annotated[_Text | None, Given] = Field(
        default=None, description="when it is complete (empty)"
    )


class StatusSection(Section):
    """What a person is told while nothing of the answer can be shown."""

    form: Form = Field(
        default=Form.AUTO,
        description="how a status is written; auto: as suits the wire format, off: not at all",
    )
    first_after: _FirstAfter = Field(
        default=0.2,
        description="after how long the answer is begun, whatever upstream does (200ms); 0: at "
        "once, off: never",
    )
    heartbeat: _Heartbeat = Field(
        default=Heartbeat(15.0, Beat.COMMENT),
        description="after how long without a byte a sign of life is sent (15s), off: never, or "
        "{every: …, as: comment | chunk | status}",
    )
    texts: TextsSection = Field(default=TextsSection(), description="what a status says")
    sources: Sources = Field(
        default=Sources.OFF,
        description="whether the URLs in hidden tool results and in citations are shown",
    )
    header: Header = Field(
        default=Header.OFF,
        description="choose: a request may choose the form by X-Sidecar-Status",
    )


# --- what they become ---------------------------------------------------------------------------

_PHASES: Final = tuple(phase for phase in Phase if phase.value in TextsSection.model_fields)


def status_spec(top: StatusSection, own: StatusSection | None = None) -> StatusSpec:
    """What a rule wishes whose ``status`` is ``own``, in a file with ``top``."""
    layers = [section for section in (own, top) if section is not None]

    def wish(name: str) -> Any:
        said = (section for section in layers if name in section.model_fields_set)
        return getattr(next(said, top), name)

    heartbeat: Heartbeat = wish("heartbeat")
    texts = [section.texts for section in layers]
    languages = sorted(set(_languages(texts)))

    def policy(language: str) -> StatusPolicy:
        return StatusPolicy(
            form=wish("form"),
            first_after=wish("first_after"),
            heartbeat=heartbeat.every,
            beat=heartbeat.beat,
            texts=_texts(texts, language),
            sources=wish("sources") is Sources.STATUS,
            choose=wish("header") is Header.CHOOSE,
        )

    return StatusSpec(policy(""), {language: policy(language) for language in languages})


def _texts(layers: Iterable[TextsSection], language: str) -> StatusTexts:
    phases = dict(DEFAULT_TEXTS.phases)
    tools: dict[str, StatusText] = {}
    for section in layers:
        for glob, text in section.tools.items():
            tools.setdefault(glob, text.of(language))
    for section in reversed(tuple(layers)):
        for phase in _PHASES:
            text = getattr(section, phase.value)
            if text is not None:
                phases[phase] = text.of(language)
    return StatusTexts(phases, tuple(tools.items()))


def _languages(layers: Iterable[TextsSection]) -> Iterator[str]:
    for section in layers:
        said = [getattr(section, phase.value) for phase in _PHASES]
        for text in (*said, *section.tools.values()):
            if text is not None:
                yield from text.languages
