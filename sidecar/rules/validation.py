"""A document against a pydantic model: every mistake at once, one sentence each.

Owns the words of a mistake: what was found, what is expected, and the nearest thing that is
right. Knows no key of any file, and never shows a value that :func:`is_secret` names.

Two conventions for the models. A validator's ``ValueError`` that begins with ``expected`` gets
``found …`` put before it; any other text is the whole sentence. A field that is required has a
description, which is what the mistake says is missing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sidecar.errors import ConfigError, Mistake
from sidecar.rules.strictyaml import MAX_SHOWN, Document, KeyPath, is_secret

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

_EXPECTED: Final = {
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
}
"""pydantic's type of error -> what is expected."""

_NEAR_KEY: Final = 0.6
_NEAR_VALUE: Final = 0.4
"""A handful of words to choose from: a more distant one is still more help than none."""


class Section(BaseModel):
    """A mapping of the file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _refuse_nothing(value: object) -> object:
    if value is None:
        raise ValueError("expected a value; leave the key out to leave it open")
    return value


def _refuse_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    if not items:
        raise ValueError("expected at least one entry")
    return items


Given: Final = BeforeValidator(_refuse_nothing)
"""For a key that may be left out but not left empty: an empty one would silently ask nothing."""
NotEmpty: Final = AfterValidator(_refuse_empty)
"""For a list; pydantic's own ``min_length`` counts valid items, and says one mistake twice."""


def validate(
    document: Document,
    model: type[Model],
    *,
    also: Collection[Mistake] = (),
    context: Mapping[str, object] | None = None,
) -> Model:
    """The document as ``model``; :class:`ConfigError` with all its mistakes and those in ``also``.

    An empty document is an empty mapping. Where ``also`` has a mistake, the model's is left out.
    """
    value = {} if document.value is None else document.value
    try:
        valid = model.model_validate(value, context=context)
    except ValidationError as error:
        known = {mistake.path for mistake in also}
        found = [_mistake(document, model, details) for details in error.errors(include_url=False)]
        raise ConfigError([*also, *(m for m in found if m.path not in known)]) from None
    if also:
        raise ConfigError(also)
    return valid


def did_you_mean(word: str, known: Collection[str], cutoff: float = _NEAR_VALUE) -> str:
    """The end of a sentence that suggests what of ``known`` is nearest; empty if nothing is."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""


def either(words: Collection[str]) -> str:
    """``'a', 'b' or 'c'``."""
    *most, last = map(repr, words)
    return f"{', '.join(most)} or {last}" if most else last


def _mistake(document: Document, model: type[BaseModel], details: ErrorDetails) -> Mistake:
    path, kind = details["loc"], details["type"]
    if kind == "extra_forbidden":
        message = _unknown_key(str(path[-1]), _fields(_model_at(model, path[:-1])))
        return document.mistake(path, message, at_key=True)
    if kind == "missing":
        field = _fields(_model_at(model, path[:-1]))[str(path[-1])]
        return document.mistake(path, f"is missing, expected {field.description}", at_key=True)
    # A list may be written as its only item, which has no index then.
    path = document.nearest(path) or path
    return document.mistake(path, _sentence(path, details))


def _unknown_key(key: str, fields: Mapping[str, FieldInfo]) -> str:
    suggestion = did_you_mean(key, fields, _NEAR_KEY)
    return f"unknown key, expected {either(fields)}{suggestion}"


def _sentence(path: KeyPath, details: ErrorDetails) -> str:
    found, context = details["input"], details.get("ctx", {})
    if details["type"] == "value_error":
        text = str(context["error"])
        return f"found {_shown(path, found)}, {text}" if text.startswith("expected") else text
    if details["type"] in ("enum", "literal_error"):
        expected: str = context["expected"]
        words = re.findall("'([^']*)'", expected)
        suggestion = did_you_mean(found, words) if isinstance(found, str) else ""
        return f"found {_shown(path, found)}, expected {expected}{suggestion}"
    expected = _EXPECTED.get(details["type"], details["msg"])
    quotes = isinstance(found, bool | int | float) and details["type"] == "string_type"
    hint = "; write it in quotes" if quotes else ""
    return f"found {_shown(path, found)}, expected {expected}{hint}"


def _shown(path: KeyPath, value: object) -> str:
    """What stands in the file, short enough for a line; a secret only by its kind."""
    if isinstance(value, dict | list):
        name = "mapping" if isinstance(value, dict) else "list"
        return f"a {name}" if value else f"an empty {name}"
    if value is None:
        return "nothing"
    if is_secret(path):
        return "text" if isinstance(value, str) else "a number or a boolean"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of ``model`` as a file writes them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    """The model that judges the mapping at ``path``."""
    for part in path:
        if isinstance(part, str):
            model = _model_in(_fields(model)[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The one model in an annotation such as ``list[Model]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
