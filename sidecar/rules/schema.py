"""JSON Schemas of the two kinds of files, for an editor's YAML plug-in.

Owns what an editor is told and how; the keys and their descriptions are the models'. A schema
judges values one by one: what only several of them can get wrong is left to ``sidecar check``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, TypeAlias

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from sidecar.rules.catalogue import format_ids, shipped_folder, shipped_names
from sidecar.rules.config import ConfigSection
from sidecar.rules.configvalues import Address, EmptyAnswer
from sidecar.rules.formatfile import INTERRUPTIBLE, FormatSection
from sidecar.rules.statussection import Heartbeat
from sidecar.rules.validation import Given, NotEmpty, Section

_Schema: TypeAlias = dict[str, Any]

_VARIABLE: Final = r"\$\{.*\}"
"""A reference to an environment variable: what it stands for, an editor cannot know."""


def formats_schema() -> _Schema:
    """The JSON Schema (draft 2020-12) of a format file."""
    schema = _schema(FormatSection, "A format file of the sidecar")
    ids = format_ids(shipped_folder())
    region = schema["$defs"]["RegionSection"]["properties"]
    _suggest(region["interrupts"]["items"], [*INTERRUPTIBLE, *ids])
    _suggest(schema["properties"]["shape"], ids)
    return schema


def config_schema() -> _Schema:
    """The JSON Schema (draft 2020-12) of the configuration file."""
    schema = _schema(ConfigSection, "The configuration file of the sidecar")
    for part in list(_parts(schema)):
        _allow_variable(part)
    rule = schema["$defs"]["RuleSection"]["properties"]
    _suggest(rule["formats"]["items"], shipped_names())
    return schema


def _schema(model: type[Section], title: str) -> _Schema:
    schema = model.model_json_schema(schema_generator=_ForEditors)
    for definition in schema["$defs"].values():
        # They would hide the key's own description, and are words of this program.
        definition.pop("title", None)
        definition.pop("description", None)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": title}


def _suggest(part: _Schema, names: Collection[str]) -> None:
    """An editor offers ``names``; others may be right too: operators have formats of their own."""
    other = {key: part.pop(key) for key in ("type", "pattern") if key in part}
    part["anyOf"] = [{"enum": list(names)}, other]


def _parts(value: object) -> Iterator[_Schema]:
    """Every mapping in a schema."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


def _allow_variable(part: _Schema) -> None:
    if part.get("type") != "string":
        return
    if "enum" in part:
        part["anyOf"] = [{"enum": part.pop("enum")}, {"pattern": _VARIABLE}]
    elif "pattern" in part:
        part["pattern"] += f"|{_VARIABLE}"


def _as_written(default: object) -> object:
    """A default as it would stand in the file; None if that is not worth showing."""
    if isinstance(default, EmptyAnswer):
        return default.wish.value
    if isinstance(default, Heartbeat):
        return f"{default.every:g}s"
    if isinstance(default, tuple):
        return list(default) or None
    if isinstance(default, Address | str):
        return str(default) or None
    return default if isinstance(default, bool) else None


class _ForEditors(GenerateJsonSchema):
    """pydantic's, without titles made of names, and with what this project's validators mean."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """No title: the key itself is one."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> _Schema:
        """The schema of a key that may be left out."""
        default = _as_written(self.get_default_value(schema))
        inner = self.generate_inner(schema["schema"])
        return inner if default is None else {**inner, "default": default}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> _Schema:
        """``Given`` refuses nothing, so that null is no alternative."""
        inner = schema["schema"]
        if schema["function"]["function"] is Given.func and inner["type"] == "nullable":
            return self.generate_inner(inner["schema"])
        return super().function_before_schema(schema)

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> _Schema:
        """``NotEmpty`` refuses an empty list."""
        inner = super().function_after_schema(schema)
        return (
            {**inner, "minItems": 1} if schema["function"]["function"] is NotEmpty.func else inner
        )
