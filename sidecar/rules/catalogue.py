"""The format files: their keys, what makes one wrong, and the names a rule may use for them.

Owns the YAML of ``config/formats/``. Knows nothing of policies, and does not run the examples:
that takes the engine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from sidecar.core.channel import Channel
from sidecar.core.format import SELF, At, Body, Example, Format, Region, ToolName
from sidecar.core.policy import StartsIn
from sidecar.errors import ConfigError, Mistake
from sidecar.resources import config_dir
from sidecar.rules.strictyaml import Document, load
from sidecar.rules.validation import NotEmpty, Section, did_you_mean, either, validate

GROUPS: Final = ("all", "reasoning", "tools")

MAX_MARKER: Final = 64
"""Characters. The longest marker known has 52; a longer one would hold visible text back."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All formats by id, in the order of their files."""

    formats: Mapping[str, Format]

    def names(self) -> tuple[str, ...]:
        """What a rule may list: every id and every group."""
        return tuple(dict.fromkeys((*self.formats, *GROUPS)))

    def resolve(self, names: Iterable[str]) -> tuple[Format, ...]:
        """The formats that ``names`` mean, in that order, each once.

        A group means its members in the order of their files; a name that is an id as well means
        that format too. Raises :class:`KeyError` for a name that is not in :meth:`names`.
        """
        known = self.names()
        found: dict[str, Format] = {}
        for name in names:
            if name not in known:
                raise KeyError(name)
            for id_, format_ in self.formats.items():
                if name == id_ or name in format_.groups:
                    found[id_] = format_
        return tuple(found.values())


def shipped_catalogue() -> Catalogue:
    """The formats that ship with the package; ``ConfigError`` if one is wrong."""
    return load_catalogue(config_dir() / "formats")


def load_catalogue(directory: Path) -> Catalogue:
    """Every ``*.yaml`` in ``directory``; ``ConfigError`` with the mistakes of all of them."""
    formats: dict[str, Format] = {}
    mistakes: list[Mistake] = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            formats[path.stem] = load_format(path)
        except ConfigError as error:
            mistakes += error.mistakes
    if not formats and not mistakes:
        # No formats would mean that nothing is recognised, and all of it shown.
        message = "found no *.yaml file, expected a folder of formats"
        mistakes.append(Mistake(str(directory), 0, 0, "", message))
    if mistakes:
        raise ConfigError(mistakes)
    return Catalogue(formats)


def load_format(path: Path) -> Format:
    """The format in the file at ``path``; ``ConfigError`` with all the mistakes of the file."""
    document = load(path)
    also = _between_regions(document)
    siblings = sorted(sibling.stem for sibling in path.parent.glob("*.yaml"))
    context = {"id": path.stem, "siblings": siblings}
    section = validate(document, FormatSection, also=tuple(also), context=context)
    return _format(section)


# --- single values ------------------------------------------------------------------------------


def _marker(marker: str) -> str:
    if not 0 < len(marker) <= MAX_MARKER:
        raise ValueError(f"expected a marker of 1 to {MAX_MARKER} characters")
    return marker


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("expected some text")
    return text


def _format_id(id_: str, info: ValidationInfo) -> str:
    stem = info.context["id"] if info.context else id_
    if not re.fullmatch("[a-z0-9_]+", id_):
        raise ValueError("expected lower-case letters, digits and underscores")
    if id_ != stem:
        raise ValueError(f"expected '{stem}', the name of the file")
    return id_


def _interrupted(name: str, info: ValidationInfo) -> str:
    formats: Collection[str] = info.context["siblings"] if info.context else ()
    if name not in _INTERRUPTIBLE and name not in formats:
        near = did_you_mean(name, [*_INTERRUPTIBLE, *formats])
        known = ", ".join(map(repr, _INTERRUPTIBLE))
        raise ValueError(f"expected {known} or the id of a format{near}")
    return name


_INTERRUPTIBLE: Final = ("reasoning", "tool_call", "tool_result", SELF)

_Marker: TypeAlias = Annotated[str, AfterValidator(_marker)]
_Text: TypeAlias = Annotated[str, AfterValidator(_text)]
_Texts: TypeAlias = Annotated[tuple[_Text, ...], NotEmpty]
_ChannelName: TypeAlias = Literal["reasoning", "tool_call", "tool_result", "markup", "content"]
_Interrupted: TypeAlias = Annotated[str, AfterValidator(_interrupted)]

# --- the file's sections ------------------------------------------------------------------------


class ToolNameSection(Section):
    """Either the key of a JSON object, or what stands between two literals."""

    json_key: _Text | None = Field(default=None, alias="json")
    after: _Marker | None = None
    until: tuple[_Marker, ...] = ()
    strip: tuple[_Marker, ...] = ()
    until_last: _Marker | None = None
    once: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> ToolNameSection:
        if (self.json_key is None) == (self.after is None):
            raise ValueError("found both or neither of 'json' and 'after', expected one of them")
        if self.after and not self.until:
            raise ValueError("found 'after' without 'until', expected the literals that end a name")
        if self.json_key and (self.until or self.strip or self.until_last or self.once):
            raise ValueError(
                "found 'until', 'strip', 'until_last' or 'once' with 'json', expected 'after'"
            )
        return self


class RegionSection(Section):
    """A stretch of text that belongs to one channel."""

    channel: _ChannelName = Field(description="what the text in the region is")
    name: _Text = ""
    open: tuple[_Marker, ...] = ()
    close: tuple[_Marker, ...] = ()
    at: At = At.ANYWHERE
    body: Body = Body.TEXT
    then: _Text | None = None
    interrupts: tuple[_Interrupted, ...] = ()
    stray_close: Literal["drop", "text"] = "drop"
    tool_name: ToolNameSection | None = None

    @field_validator("close")
    @classmethod
    def _no_close_of_content(cls, close: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if close and info.data.get("channel") == "content":
            raise ValueError("found close markers of content, expected none: it is all the rest")
        return close

    @field_validator("tool_name")
    @classmethod
    def _only_of_calls(
        cls, tool_name: ToolNameSection | None, info: ValidationInfo
    ) -> ToolNameSection | None:
        channel = info.data.get("channel", "tool_call")
        if channel != "tool_call":
            raise ValueError(f"found the name of a tool in {channel}, expected it in a tool_call")
        return tool_name


class ExampleSection(Section):
    """A text, and what each channel of it is."""

    name: _Text = Field(description="what the example shows")
    text: str = Field(description="what the model writes")
    visible: str = Field(description="what is left of it for the reader")
    reasoning: str = ""
    tool_call: str = ""
    tool_result: str = ""
    starts_in: StartsIn = StartsIn.CONTENT
    tools: tuple[_Text, ...] = ()


class FormatSection(Section):
    """The whole file."""

    id: Annotated[str, AfterValidator(_format_id)] = Field(description="the name of the file")
    models: _Texts = Field(description="a list of the models that write this")
    sources: _Texts = Field(description="a list of where this was read")
    groups: tuple[Literal["all", "reasoning", "tools"], ...] = Field(
        description="a list of the groups it is in; [] if it is for rules that name it"
    )
    why: _Text = Field(description="one sentence: why it is in these groups or in none")
    regions: Annotated[tuple[RegionSection, ...], NotEmpty] = Field(description="a list of regions")
    discard: tuple[_Marker, ...] = ()
    examples: Annotated[tuple[ExampleSection, ...], NotEmpty] = Field(
        description="a list of at least one example"
    )


# --- what one region says of another ------------------------------------------------------------


def _between_regions(document: Document) -> Iterator[Mistake]:
    """Judged on what is written, so that it is told together with the mistakes of shape."""
    value = document.value if isinstance(document.value, dict) else {}
    regions = value.get("regions")
    items = regions if isinstance(regions, list) else []
    mappings = {index: item for index, item in enumerate(items) if isinstance(item, dict)}
    names = {index: item.get("name", item.get("channel")) for index, item in mappings.items()}
    known = [name for name in names.values() if isinstance(name, str)]
    followers = [item.get("then") for item in mappings.values()]
    for index, region in mappings.items():
        name, then = names[index], region.get("then")
        first = next(i for i, other in names.items() if other == name)
        if isinstance(name, str) and first != index:
            message = f"found {name!r}, expected a name of its own: regions.{first} has it"
            yield document.mistake(("regions", index, "name"), message)
        if isinstance(then, str) and known and then not in known:
            message = f"found {then!r}, expected {either(known)}{did_you_mean(then, known)}"
            yield document.mistake(("regions", index, "then"), message)
        if isinstance(name, str) and not region.get("open") and name not in followers:
            message = f"found no way into {name!r}, expected open markers or a 'then' that names it"
            yield document.mistake(("regions", index), message)


# --- sections into values -----------------------------------------------------------------------


def _format(section: FormatSection) -> Format:
    return Format(
        id=section.id,
        regions=tuple(map(_region, section.regions)),
        discard=section.discard,
        groups=frozenset(section.groups),
        examples=tuple(map(_example, section.examples)),
    )


def _region(section: RegionSection) -> Region:
    return Region(
        name=section.name or section.channel,
        channel=Channel(section.channel),
        open=section.open,
        close=section.close,
        at=section.at,
        body=section.body,
        then=section.then,
        interrupts=frozenset(section.interrupts),
        stray_close_is_text=section.stray_close == "text",
        tool_name=_tool_name(section.tool_name) if section.tool_name else None,
    )


def _tool_name(section: ToolNameSection) -> ToolName:
    return ToolName(
        json=section.json_key,
        after=section.after,
        until=section.until,
        strip=section.strip,
        until_last=section.until_last,
        once=section.once,
    )


def _example(section: ExampleSection) -> Example:
    return Example(
        name=section.name,
        text=section.text,
        visible=section.visible,
        reasoning=section.reasoning,
        tool_call=section.tool_call,
        tool_result=section.tool_result,
        starts_in_reasoning=section.starts_in is StartsIn.REASONING,
        tools=section.tools,
    )
