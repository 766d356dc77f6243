"""One format file: its keys, what makes one wrong, and the value it becomes.

Owns the YAML of a family. Knows nothing of the other files but their ids, nothing of policies, and
does not run the examples: that takes the engine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from sidecar.core.channel import Channel
from sidecar.core.format import (
    ONLY_KEY,
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
from sidecar.core.markers import PLACEHOLDERS
from sidecar.errors import Mistake
from sidecar.rules.strictyaml import Document
from sidecar.rules.validation import Given, NotEmpty, Section, did_you_mean, either

GROUPS: Final = ("all", "reasoning", "tools")

MAX_MARKER: Final = 64
"""Characters. The longest marker known has 52; a longer one would hold visible text back."""

# --- single values ------------------------------------------------------------------------------


def _marker(marker: str) -> str:
    if not 0 < len(marker) <= MAX_MARKER:
        raise ValueError(f"expected a marker of 1 to {MAX_MARKER} characters")
    return marker


def _with_placeholders(marker: str) -> str:
    unknown = set(re.findall(r"\{[a-z]+\}", marker)) - set(PLACEHOLDERS)
    if unknown:
        raise ValueError(f"expected no placeholder but {either(PLACEHOLDERS)}")
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
    formats: Collection[str] = info.context["formats"] if info.context else ()
    if name not in INTERRUPTIBLE and name not in formats:
        near = did_you_mean(name, [*INTERRUPTIBLE, *formats])
        known = ", ".join(map(repr, INTERRUPTIBLE))
        raise ValueError(f"expected {known} or the id of a format{near}")
    return name


def _shape(name: str, info: ValidationInfo) -> str:
    formats: Collection[str] = info.context["formats"] if info.context else ()
    others = [other for other in formats if other != info.data.get("id")]
    if name not in others:
        raise ValueError(f"expected the id of another format{did_you_mean(name, others)}")
    return name


def _pair(value: object) -> object:
    expected = "expected a list of two literals, the one before and the one after"
    if not isinstance(value, list):
        raise ValueError(expected)
    if len(value) != 2:
        raise ValueError(f"found a list of {len(value)}, {expected}")
    return value


def _glob(glob: str) -> str:
    if not glob or "[" in glob or glob != glob.lower():
        raise ValueError("expected a lower-case glob in which only * and ? have a meaning")
    return glob


INTERRUPTIBLE: Final = ("reasoning", "tool_call", "tool_result", SELF)
"""What an open marker may end, besides the regions of a format that is named by its id."""

_ID: Final = {"type": "string", "pattern": "^[a-z0-9_]+$"}
_Id: TypeAlias = Annotated[str, AfterValidator(_format_id), WithJsonSchema(_ID)]
_Shape: TypeAlias = Annotated[str, AfterValidator(_shape), WithJsonSchema(_ID)]
_Interrupted: TypeAlias = Annotated[str, AfterValidator(_interrupted), WithJsonSchema(_ID)]
_Marker: TypeAlias = Annotated[
    str,
    AfterValidator(_marker),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_MARKER}),
]
_Text: TypeAlias = Annotated[
    str, AfterValidator(_text), WithJsonSchema({"type": "string", "pattern": r"\S"})
]
_Texts: TypeAlias = Annotated[tuple[_Text, ...], NotEmpty]
_ChannelName: TypeAlias = Literal["reasoning", "tool_call", "tool_result", "markup", "content"]
_Glob: TypeAlias = Annotated[
    str, AfterValidator(_glob), WithJsonSchema({"type": "string", "pattern": "^[^A-Z[]+$"})
]
_Pattern: TypeAlias = Annotated[_Marker, AfterValidator(_with_placeholders)]
_Between: TypeAlias = Annotated[tuple[str, _Marker], BeforeValidator(_pair)]

# --- the file's sections ------------------------------------------------------------------------


class ToolNameSection(Section):
    """Where a call has its tool's name: exactly one of ``python``, ``json`` and ``after``."""

    python: StrictBool = Field(
        default=False, description="true: the region holds Python calls, named by their functions"
    )
    json_key: Annotated[_Text | None, Given] = Field(
        default=None,
        alias="json",
        description="the key of the JSON object that holds the name, in each object of a list; "
        f"'{ONLY_KEY}': the object's only key is the name, and its value the arguments",
    )
    after: Annotated[_Marker | None, Given] = Field(
        default=None, description="the literal after which the name stands, white space aside"
    )
    until: tuple[_Marker, ...] = Field(
        default=(), description="with 'after': the name ends before the first of these literals"
    )
    strip: tuple[_Marker, ...] = Field(
        default=(), description="with 'after': prefixes that are not part of the name"
    )
    until_last: Annotated[_Marker | None, Given] = Field(
        default=None,
        description="with 'after': the last of this literal in the name, and all that follows it "
        "there, is not part of the name, such as ':' for a counter",
    )
    once: StrictBool = Field(
        default=False,
        description="with 'after': true: a region has one call, and 'after' may stand in its body",
    )

    @model_validator(mode="after")
    def _one_way(self) -> ToolNameSection:
        ways = {"python": self.python, "json": self.json_key, "after": self.after}
        given = [name for name, value in ways.items() if value]
        if not given:
            raise ValueError(
                "found none of 'python', 'json' and 'after', expected the one that says where the "
                "name stands"
            )
        if len(given) > 1:
            raise ValueError(f"found {_both(given)}, expected only one of them")
        return self

    @model_validator(mode="after")
    def _literals(self) -> ToolNameSection:
        if self.after and not self.until:
            raise ValueError("found 'after' without 'until', expected the literals that end a name")
        for name in ("until", "strip", "until_last", "once"):
            if getattr(self, name) and not self.after:
                raise ValueError(f"found {name!r} without 'after', expected it only beside 'after'")
        return self


class ArgumentsSection(Section):
    """How a call writes its arguments."""

    kind: ArgumentsAs = Field(
        alias="as", description="how they are written: 'member', 'json', 'named' or 'python'"
    )
    keys: tuple[_Text, ...] = Field(
        default=(),
        description="with 'as: member': the keys under which the arguments may stand, in the JSON "
        "object that has the name",
    )
    key: Annotated[_Between | None, Given] = Field(
        default=None,
        description="with 'as: named': the two literals around an argument's key; an empty first "
        "one is directly after what was read before",
    )
    value: Annotated[_Between | None, Given] = Field(
        default=None,
        description="with 'as: named': the two literals around an argument's value; an empty first "
        "one is directly after the key, and one line end at either end is not part of the value",
    )

    @model_validator(mode="after")
    def _whole(self) -> ArgumentsSection:
        for name in ("key", "value"):
            given = getattr(self, name) is not None
            if given and self.kind is not ArgumentsAs.NAMED:
                raise ValueError(f"found {name!r} with 'as: {self.kind}', expected 'as: named'")
            if not given and self.kind is ArgumentsAs.NAMED:
                raise ValueError(
                    f"found 'as: named' without {name!r}, expected the two literals around each "
                    f"{name}"
                )
        if self.keys and self.kind is not ArgumentsAs.MEMBER:
            raise ValueError(f"found 'keys' with 'as: {self.kind}', expected 'as: member'")
        return self


class RegionSection(Section):
    """A stretch of text that belongs to one channel."""

    channel: _ChannelName = Field(description="what the text in the region is")
    name: _Text = Field(
        default="", description="what 'then' and 'inside' call the region; else, its channel"
    )
    open: tuple[_Pattern, ...] = Field(
        default=(),
        description="the markers that open it; {name}, {number} and {space} stand for a name, a "
        "number and white space",
    )
    close: tuple[_Pattern, ...] = Field(
        default=(),
        description="the markers that close it; without any, it ends with its value (see body), "
        "with another open marker, or with the message",
    )
    at: At = Field(
        default=At.ANYWHERE,
        description="where an open marker counts: anywhere, first on its line, first in the "
        "message (start), or directly after a removed region",
    )
    body: Body = Field(
        default=Body.TEXT,
        description="how the inside is read: as text; as JSON, whose strings may hold a close "
        "marker; as a JSON value, with which the region ends; or as Python's calls and literals",
    )
    then: Annotated[_Text | None, Given] = Field(
        default=None, description="the region of this file that follows a close marker"
    )
    inside: Annotated[_Text | None, Given] = Field(
        default=None,
        description="the region of this file in which alone an open marker counts, and to which a "
        "close marker returns",
    )
    interrupts: tuple[_Interrupted, ...] = Field(
        default=(),
        description="what an open marker ends although it never closed: a channel, the id of a "
        "format, or 'self' for this one",
    )
    stray_close: Literal["drop", "text"] = Field(
        default="drop", description="what a close marker is that nothing opened"
    )
    proof: tuple[_Marker, ...] = Field(
        default=(),
        description="an open marker counts only if one of these literals stands in the region, "
        "near its beginning",
    )
    implicit: StrictBool = Field(
        default=False,
        description="true: where the prompt has opened the reasoning, it is this region, as its "
        "first open marker would",
    )
    last: StrictBool = Field(
        default=False,
        description="true, for content: nothing after the open marker is a marker of this format",
    )
    escaped: StrictBool = Field(
        default=False,
        description="true: its text is HTML-escaped, so an escaped marker in it is text even under "
        "a rule with html_escaped",
    )
    tool_name: Annotated[ToolNameSection | None, Given] = Field(
        default=None, description="for a tool_call: where the tool's name stands"
    )
    arguments: Annotated[ArgumentsSection | None, Given] = Field(
        default=None, description="for a tool_call: how its arguments are written"
    )

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
        if self.inside and self.then:
            raise ValueError(
                "found 'inside' with 'then', expected only one: a close marker leads to one region"
            )
        if self.inside and not self.close:
            raise ValueError(
                "found 'inside' without 'close', expected the markers that lead back out"
            )
        return self

    @model_validator(mode="after")
    def _ends_the_markers(self) -> RegionSection:
        if self.last and self.channel != "content":
            raise ValueError(f"found 'last' in {self.channel}, expected it only in content")
        if self.last and self.close:
            raise ValueError("found 'last' with 'close', expected none: no marker follows it")
        return self


class ExampleSection(Section):
    """A text, and what each channel of it is."""

    name: _Text = Field(description="what the example shows")
    text: str = Field(description="what the model writes")
    visible: str = Field(description="what is left of it for the reader")
    reasoning: str = Field(default="", description="the reasoning in it, without its markers")
    tool_call: str = Field(default="", description="the calls in it, without their markers")
    tool_result: str = Field(default="", description="the results in it, without their markers")
    starts_in: Literal["content", "reasoning"] = Field(
        default="content", description="reasoning: the prompt has already opened it"
    )
    tools: tuple[_Text, ...] = Field(default=(), description="the tools that it calls")


class MarkersSection(Section):
    """One model family's way of writing, but for the examples."""

    id: _Id = Field(description="the name of the file")
    models: _Texts = Field(description="a list of the models that write this")
    sources: _Texts = Field(description="a list of where this was read")
    groups: tuple[Literal["all", "reasoning", "tools"], ...] = Field(
        description="a list of the groups it is in; [] if it is for rules that name it"
    )
    why: _Text = Field(description="one sentence: why it is in these groups or in none")
    shape: Annotated[_Shape | None, Given] = Field(
        default=None, description="the id of the format whose regions and markers these are"
    )
    regions: Annotated[tuple[RegionSection, ...], NotEmpty] = Field(
        default=(), description="the stretches of text that belong to one channel each"
    )
    discard: tuple[_Pattern, ...] = Field(
        default=(), description="markers that are removed wherever they stand, such as stop tokens"
    )
    tail: tuple[_Pattern, ...] = Field(
        default=(), description="markers that are removed only at the end of a message"
    )
    opened_by_prompt: tuple[_Glob, ...] = Field(
        default=(),
        description="globs for the lower-case names of the models whose prompt opens the reasoning",
    )

    @model_validator(mode="after")
    def _says_something(self) -> MarkersSection:
        own = [name for name in ("regions", "discard", "tail") if getattr(self, name)]
        if self.shape and own:
            raise ValueError(
                f"found {_both(['shape', *own])}, expected only 'shape': it stands for all markers"
            )
        if not self.shape and not own:
            raise ValueError(
                "found no markers, expected a list of 'regions', or 'shape' with the id of the "
                "format whose regions these are"
            )
        return self


class FormatSection(MarkersSection):
    """One model family's way of writing."""

    examples: Annotated[tuple[ExampleSection, ...], NotEmpty] = Field(
        description="a list of at least one example"
    )


def _both(names: Collection[str]) -> str:
    """``'a', 'b' and 'c'``."""
    *most, last = map(repr, names)
    return f"{', '.join(most)} and {last}"


# --- what one region says of another ------------------------------------------------------------


def between_regions(document: Document) -> Iterator[Mistake]:
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
        if isinstance(name, str) and region.get("inside") == name:
            message = f"found {name!r}, the region itself, expected the one around it"
            yield document.mistake(("regions", index, "inside"), message)
        outer = next((r for i, r in mappings.items() if names[i] == region.get("inside")), {})
        if outer.get("body", "text") != "text":
            message = f"found {region['inside']!r}, expected a region whose body is text"
            yield document.mistake(("regions", index, "inside"), message)
        if isinstance(name, str) and not region.get("open") and name not in followers:
            message = f"found no way into {name!r}, expected open markers or a 'then' that names it"
            yield document.mistake(("regions", index), message)


# --- sections into values -----------------------------------------------------------------------


def format_of(section: MarkersSection, shape: MarkersSection) -> Format:
    """The format that ``section`` says, with the markers of ``shape``."""
    examples = section.examples if isinstance(section, FormatSection) else ()
    return Format(
        id=section.id,
        regions=tuple(map(_region, shape.regions)),
        discard=shape.discard,
        tail=shape.tail,
        models=section.models,
        opened_by_prompt=section.opened_by_prompt,
        groups=frozenset(section.groups),
        examples=tuple(map(_example, examples)),
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
        escaped=section.escaped,
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
