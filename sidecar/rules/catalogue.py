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
from sidecar.core.format import (
    SELF,
    Arguments,
    ArgumentsAs,
    At,
    Body,
    Example,
    Format,
    Region,
    ToolName,
)
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

        A group means its members, those of most models first: where families share a marker, the
        first gives it its name. A name that is an id as well means that format too. Raises
        :class:`KeyError` for a name that is not in :meth:`names`.
        """
        known = self.names()
        found: dict[str, Format] = {}
        for name in names:
            if name not in known:
                raise KeyError(name)
            for format_ in sorted(self.formats.values(), key=lambda known: -len(known.models)):
                if name == format_.id or name in format_.groups:
                    found[format_.id] = format_
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
    """The format in the file at ``path``, with the regions of the file that its ``shape`` names if
    it has one; ``ConfigError`` with all the mistakes of the file."""
    document, section = _read(path)
    shape = section
    if section.shape:
        _, shape = _read(path.with_name(f"{section.shape}.yaml"))
        if shape.shape:
            message = f"found {section.shape!r}, expected {shape.shape!r}, whose shape that one has"
            raise ConfigError([document.mistake(("shape",), message)])
    return _format(section, shape)


def _read(path: Path) -> tuple[Document, FormatSection]:
    document = load(path)
    also = _between_regions(document)
    siblings = sorted(sibling.stem for sibling in path.parent.glob("*.yaml"))
    context = {"id": path.stem, "siblings": siblings}
    return document, validate(document, FormatSection, also=tuple(also), context=context)


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


def _shape(name: str, info: ValidationInfo) -> str:
    formats: Collection[str] = info.context["siblings"] if info.context else ()
    if name not in formats or name == info.data.get("id"):
        raise ValueError(f"expected the id of another format{did_you_mean(name, formats)}")
    return name


def _glob(glob: str) -> str:
    if not glob or "[" in glob or glob != glob.lower():
        raise ValueError("expected a lower-case glob in which only * and ? have a meaning")
    return glob


_INTERRUPTIBLE: Final = ("reasoning", "tool_call", "tool_result", SELF)

_Marker: TypeAlias = Annotated[str, AfterValidator(_marker)]
_Text: TypeAlias = Annotated[str, AfterValidator(_text)]
_Texts: TypeAlias = Annotated[tuple[_Text, ...], NotEmpty]
_ChannelName: TypeAlias = Literal["reasoning", "tool_call", "tool_result", "markup", "content"]
_Interrupted: TypeAlias = Annotated[str, AfterValidator(_interrupted)]
_Glob: TypeAlias = Annotated[str, AfterValidator(_glob)]
_Between: TypeAlias = tuple[str, _Marker]

# --- the file's sections ------------------------------------------------------------------------


class ToolNameSection(Section):
    """The key of a JSON object, what stands between two literals, or Python's functions."""

    python: bool = False
    json_key: _Text | None = Field(default=None, alias="json")
    after: _Marker | None = None
    until: tuple[_Marker, ...] = ()
    strip: tuple[_Marker, ...] = ()
    until_last: _Marker | None = None
    once: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> ToolNameSection:
        if sum([self.python, self.json_key is not None, self.after is not None]) != 1:
            raise ValueError("found several or none of 'python', 'json' and 'after', expected one")
        if self.after and not self.until:
            raise ValueError("found 'after' without 'until', expected the literals that end a name")
        if not self.after and (self.until or self.strip or self.until_last or self.once):
            raise ValueError(
                "found 'until', 'strip', 'until_last' or 'once' without 'after', expected both"
            )
        return self


class ArgumentsSection(Section):
    """How a call writes its arguments."""

    kind: ArgumentsAs = Field(
        alias="as", description="how they are written: 'member', 'json', 'named' or 'python'"
    )
    keys: tuple[_Text, ...] = ()
    key: _Between | None = None
    value: _Between | None = None

    @model_validator(mode="after")
    def _whole(self) -> ArgumentsSection:
        named = self.kind is ArgumentsAs.NAMED
        if named != (self.key is not None) or named != (self.value is not None):
            raise ValueError(
                "found 'key' and 'value' without 'as: named', or the reverse, expected all three"
            )
        if self.keys and self.kind is not ArgumentsAs.MEMBER:
            raise ValueError(f"found 'keys' with 'as: {self.kind}', expected 'as: member'")
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
    inside: _Text | None = None
    interrupts: tuple[_Interrupted, ...] = ()
    stray_close: Literal["drop", "text"] = "drop"
    proof: tuple[_Marker, ...] = ()
    implicit: bool = False
    last: bool = False
    tool_name: ToolNameSection | None = None
    arguments: ArgumentsSection | None = None

    @field_validator("tool_name")
    @classmethod
    def _only_of_calls(
        cls, tool_name: ToolNameSection | None, info: ValidationInfo
    ) -> ToolNameSection | None:
        channel = info.data.get("channel", "tool_call")
        if channel != "tool_call":
            raise ValueError(f"found the name of a tool in {channel}, expected it in a tool_call")
        return tool_name

    @model_validator(mode="after")
    def _fits_together(self) -> RegionSection:
        if self.arguments and not self.tool_name:
            raise ValueError("found 'arguments' without 'tool_name', expected both")
        if self.implicit and not self.open:
            raise ValueError("found 'implicit' without 'open', expected the marker that is implied")
        if self.last and (self.close or self.channel != "content"):
            raise ValueError("found 'last' with 'close' or not of content, expected only 'open'")
        if self.inside and (self.then or not self.close):
            raise ValueError("found 'inside' with 'then' or without 'close', expected only 'close'")
        return self


class ExampleSection(Section):
    """A text, and what each channel of it is."""

    name: _Text = Field(description="what the example shows")
    text: str = Field(description="what the model writes")
    visible: str = Field(description="what is left of it for the reader")
    reasoning: str = ""
    tool_call: str = ""
    tool_result: str = ""
    starts_in: Literal["content", "reasoning"] = "content"
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
    shape: Annotated[str, AfterValidator(_shape)] | None = None
    regions: Annotated[tuple[RegionSection, ...], NotEmpty] = ()
    discard: tuple[_Marker, ...] = ()
    tail: tuple[_Marker, ...] = ()
    opened_by_prompt: tuple[_Glob, ...] = ()
    examples: Annotated[tuple[ExampleSection, ...], NotEmpty] = Field(
        description="a list of at least one example"
    )

    @model_validator(mode="after")
    def _says_something(self) -> FormatSection:
        own = self.regions or self.discard or self.tail
        if bool(self.shape) == bool(own):
            raise ValueError(
                "found no 'regions', or both 'regions' and 'shape', expected a list of regions, or "
                "the id of the format whose regions these are"
            )
        return self


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
        name = names[index]
        first = next(i for i, other in names.items() if other == name)
        if isinstance(name, str) and first != index:
            message = f"found {name!r}, expected a name of its own: regions.{first} has it"
            yield document.mistake(("regions", index, "name"), message)
        for key in ("then", "inside"):
            other = region.get(key)
            if isinstance(other, str) and known and other not in known:
                message = f"found {other!r}, expected {either(known)}{did_you_mean(other, known)}"
                yield document.mistake(("regions", index, key), message)
        outer = next((r for i, r in mappings.items() if names[i] == region.get("inside")), {})
        if outer.get("body", "text") != "text":
            message = f"found {region['inside']!r}, expected a region whose body is text"
            yield document.mistake(("regions", index, "inside"), message)
        if isinstance(name, str) and not region.get("open") and name not in followers:
            message = f"found no way into {name!r}, expected open markers or a 'then' that names it"
            yield document.mistake(("regions", index), message)


# --- sections into values -----------------------------------------------------------------------


def _format(section: FormatSection, shape: FormatSection) -> Format:
    return Format(
        id=section.id,
        regions=tuple(map(_region, shape.regions)),
        discard=shape.discard,
        tail=shape.tail,
        models=section.models,
        opened_by_prompt=section.opened_by_prompt,
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
        inside=section.inside,
        interrupts=frozenset(section.interrupts),
        stray_close_is_text=section.stray_close == "text",
        proof=section.proof,
        implicit=section.implicit,
        last=section.last,
        tool_name=_tool_name(section.tool_name) if section.tool_name else None,
        arguments=_arguments(section.arguments) if section.arguments else None,
    )


def _tool_name(section: ToolNameSection) -> ToolName:
    return ToolName(
        python=section.python,
        json=section.json_key,
        after=section.after,
        until=section.until,
        strip=section.strip,
        until_last=section.until_last,
        once=section.once,
    )


def _arguments(section: ArgumentsSection) -> Arguments:
    empty = ("", "")
    return Arguments(section.kind, section.keys, section.key or empty, section.value or empty)


def _example(section: ExampleSection) -> Example:
    return Example(
        name=section.name,
        text=section.text,
        visible=section.visible,
        reasoning=section.reasoning,
        tool_call=section.tool_call,
        tool_result=section.tool_result,
        starts_in_reasoning=section.starts_in == "reasoning",
        tools=section.tools,
    )
