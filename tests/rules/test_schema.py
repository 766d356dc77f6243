"""The JSON Schemas for editors: valid, agreeing with the loader, and saying what each key means."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from sidecar.core.format import ArgumentsAs, At, Body
from sidecar.core.policy import Mode, OnEmpty, Reasoning
from sidecar.resources import config_dir
from sidecar.rules.catalogue import shipped_catalogue
from sidecar.rules.config import ConfigSection
from sidecar.rules.formatfile import INTERRUPTIBLE, FormatSection
from sidecar.rules.schema import config_schema, formats_schema
from sidecar.rules.strictyaml import load, parse

SCHEMAS = {"formats": formats_schema(), "config": config_schema()}
MODELS: dict[str, type[BaseModel]] = {"formats": FormatSection, "config": ConfigSection}
SHIPPED = [
    ("config", config_dir() / "sidecar.yaml"),
    *(("formats", path) for path in sorted((config_dir() / "formats").glob("*.yaml"))),
]
UPSTREAM = "upstream: {base_url: 'http://u/v1'}\n"
FORMAT = """id: f
models: [M]
sources: [s]
groups: []
why: a test
examples: [{name: n, text: t, visible: v}]
"""

both = pytest.mark.parametrize("files", ["formats", "config"])


def parts(value: object) -> Iterator[dict[str, Any]]:
    """Every mapping in a schema."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from parts(item)


def sections(files: str) -> list[dict[str, Any]]:
    """The schemas that have keys."""
    return [part for part in parts(SCHEMAS[files]) if isinstance(part.get("properties"), dict)]


def words(annotation: Any) -> set[str]:
    """What a key's type lets an operator choose from."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return {member.value for member in annotation}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {w for f in annotation.model_fields.values() for w in words(f.annotation)}
    if isinstance(annotation, str):
        return {annotation}
    return {word for argument in get_args(annotation) for word in words(argument)}


def mistakes(files: str, text: str) -> list[str]:
    """What an editor would mark."""
    found = Draft202012Validator(SCHEMAS[files]).iter_errors(parse(text, "f.yaml").value)
    return [error.message for error in found]


@both
def test_it_is_a_schema_with_a_title(files: str) -> None:
    schema = SCHEMAS[files]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["title"].startswith("A format" if files == "formats" else "The configuration")


@pytest.mark.parametrize(("files", "path"), SHIPPED, ids=lambda value: Path(value).stem)
def test_every_file_that_ships_is_valid(files: str, path: Path) -> None:
    assert list(Draft202012Validator(SCHEMAS[files]).iter_errors(load(path).value)) == []


@both
def test_every_key_says_what_it_means_and_no_other_is_allowed(files: str) -> None:
    for section in sections(files):
        assert section["additionalProperties"] is False
        silent = [key for key, value in section["properties"].items() if "description" not in value]
        assert silent == []


@both
def test_every_key_of_the_models_is_there(files: str) -> None:
    keys = {key for section in sections(files) for key in section["properties"]}
    written = {
        field.alias or name
        for model in models(MODELS[files])
        for name, field in model.model_fields.items()
    }
    # Values that may be written as a mapping.
    assert keys == written | ({"text", "every", "as", "file"} if files == "config" else set())


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, and those in their keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for argument in get_args(annotation):
        yield from models(argument)


@both
def test_every_choice_is_offered(files: str) -> None:
    offered = {word for part in parts(SCHEMAS[files]) for word in part.get("enum", ())}
    choices = words(MODELS[files])
    assert choices >= ({*At, *Body, *ArgumentsAs} if files == "formats" else {*Reasoning, *Mode})
    assert choices <= offered
    if files == "config":
        assert {*OnEmpty} - {OnEmpty.TEXT} <= offered  # TEXT has its own text


def test_the_names_of_formats_are_offered() -> None:
    rule = SCHEMAS["config"]["$defs"]["RuleSection"]["properties"]
    catalogue = shipped_catalogue()
    assert set(rule["formats"]["items"]["anyOf"][0]["enum"]) == set(catalogue.names())
    region = SCHEMAS["formats"]["$defs"]["RegionSection"]["properties"]
    names = {*INTERRUPTIBLE, *catalogue.formats}
    assert set(region["interrupts"]["items"]["anyOf"][0]["enum"]) == names


@both
def test_a_default_is_what_an_operator_would_write(files: str) -> None:
    schema = SCHEMAS[files]
    for section in sections(files):
        for key, part in section["properties"].items():
            if "default" in part:
                judge = Draft202012Validator({**part, "$defs": schema["$defs"]})
                assert judge.is_valid(part["default"]), key


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ("formats", FORMAT + "regions: [{channel: reasoning, open: ['{name}'], then: x}]\n"),
        ("formats", FORMAT + "shape: one_of_my_own\n"),
        ("formats", FORMAT + "regions: [{channel: markup, interrupts: [think, mine, self]}]\n"),
        ("config", UPSTREAM),
        ("config", UPSTREAM + "rules: [{formats: [think, one_of_my_own, '${MINE}']}]\n"),
        ("config", UPSTREAM + "rules: [{reasoning: '${REASONING:-drop}'}]\n"),
        ("config", UPSTREAM + "rules: [{on_empty: '${EMPTY}'}, {on_empty: {text: Sorry.}}]\n"),
        ("config", UPSTREAM + "limits: {event: '${SIZE}', promoted: 1024, request_body: 1KiB}\n"),
        ("config", "upstream: {base_url: '${U}', api_key: , timeouts: {idle: '${IDLE:-5}s'}}\n"),
        ("config", UPSTREAM + "rules: [{match: {model: a}}, {match: {model: [a, b]}}]\n"),
    ],
)  # fmt: skip
def test_what_the_loader_may_take_is_not_marked(files: str, text: str) -> None:
    assert mistakes(files, text) == []


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ("formats", FORMAT.replace("id: f\n", "")),
        ("formats", FORMAT.replace("id: f", "id: F")),
        ("formats", FORMAT.replace("[M]", "[]")),
        ("formats", FORMAT.replace("[M]", "M")),
        ("formats", FORMAT.replace("why: a test", "why: ''")),
        ("formats", FORMAT.replace("groups: []", "groups: [al]")),
        ("formats", FORMAT.replace("visible", "visibel")),
        ("formats", FORMAT + "discards: [x]\n"),
        ("formats", FORMAT + "discard: ['']\n"),
        ("formats", FORMAT + f"tail: ['{'x' * 65}']\n"),
        ("formats", FORMAT + "shape:\n"),
        ("formats", FORMAT + "shape: My Shape\n"),
        ("formats", FORMAT + "opened_by_prompt: ['*DeepSeek*']\n"),
        ("formats", FORMAT + "regions: []\n"),
        ("formats", FORMAT + "regions: [{open: [x]}]\n"),
        ("formats", FORMAT + "regions: [{channel: separator}]\n"),
        ("formats", FORMAT + "regions: [{channel: markup, at: top}]\n"),
        ("formats", FORMAT + "regions: [{channel: markup, body: jsn}]\n"),
        ("formats", FORMAT + "regions: [{channel: markup, then: }]\n"),
        ("formats", FORMAT + "regions: [{channel: markup, last: 'yes'}]\n"),
        ("formats", FORMAT + "regions: [{channel: markup, stray_close: keep}]\n"),
        ("formats", FORMAT + "regions: [{channel: tool_call, arguments: {as: jsn}}]\n"),
        ("formats", FORMAT + "regions: [{channel: tool_call, arguments: {as: named, key: [k]}}]\n"),
        ("formats", FORMAT + "regions: [{channel: tool_call, tool_name: {jsn: name}}]\n"),
        ("config", "listen: 127.0.0.1:8080\n"),
        ("config", "upstream: {}\n"),
        ("config", UPSTREAM + "version: 2\n"),
        ("config", UPSTREAM + "listen: 8080\n"),
        ("config", UPSTREAM + "path: [/x]\n"),
        ("config", UPSTREAM + "paths: /metrics\n"),
        ("config", UPSTREAM + "formats: [own]\n"),
        ("config", UPSTREAM + "limits: {event: 8MB}\n"),
        ("config", UPSTREAM + "limits: {event: 0}\n"),
        ("config", "upstream: {base_url: 'http://u', timeouts: {idle: 5}}\n"),
        ("config", "upstream: {base_url: 'http://u', timeouts: {idle: 5 s}}\n"),
        ("config", UPSTREAM + "rules: [{reasoning: strip}]\n"),
        ("config", UPSTREAM + "rules: [{resoning: drop}]\n"),
        ("config", UPSTREAM + "rules: [{mode: }]\n"),
        ("config", UPSTREAM + "rules: [{on_empty: text}]\n"),
        ("config", UPSTREAM + "rules: [{on_empty: {txt: x}}]\n"),
        ("config", UPSTREAM + "rules: [{attributes: 'yes'}]\n"),
        ("config", UPSTREAM + "rules: [{reasoning_fields: []}]\n"),
        ("config", UPSTREAM + "rules: [{reasoning_fields: [resoning]}]\n"),
        ("config", UPSTREAM + "rules: [{match: {tools: declard}}]\n"),
        ("config", UPSTREAM + "rules: [{match: {path: }}]\n"),
    ],
)  # fmt: skip
def test_a_mistake_is_marked(files: str, text: str) -> None:
    assert mistakes(files, text)
