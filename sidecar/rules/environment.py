"""Environment variables in a parsed document: ``${VAR}``, ``${VAR:-default}``, ``$$`` for ``$``.

Owns the expansion. It happens after the YAML was read, in text values only, so that nothing in
the environment can change a file's structure. Knows nothing of what the values mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from sidecar.errors import Mistake
from sidecar.rules.strictyaml import Document, KeyPath, Value

_REFERENCE = re.compile(r"\$\$|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)


def expand(
    document: Document, environment: Mapping[str, str]
) -> tuple[Document, tuple[Mistake, ...]]:
    """The document with every reference in a text value replaced, and the mistakes in doing so.

    As in a shell, ``:-`` gives the value for a variable that is unset or empty. What cannot be
    expanded stays as it is written. Variables are never shown: they may be secrets.
    """
    expansion = _Expansion(document, environment)
    value = expansion.value(document.value, ())
    return replace(document, value=value), tuple(expansion.mistakes)


class _Expansion:
    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self.mistakes: list[Mistake] = []
        self._document = document
        self._environment = environment

    def value(self, value: Value, path: KeyPath) -> Value:
        if isinstance(value, dict):
            return {key: self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str):
            return _REFERENCE.sub(lambda found: self._replacement(found, path), value)
        return value

    def _replacement(self, found: re.Match[str], path: KeyPath) -> str:
        if found[0] == "$$":
            return "$"
        inside = _INSIDE.fullmatch(found["inside"])
        if not found["end"] or inside is None:
            message = "found '${' that names no variable, expected ${NAME}, ${NAME:-default} or $$"
            return self._refuse(found, path, message)
        name, default = inside["name"], inside["default"]
        text = self._environment.get(name)
        if default is not None and not text:
            return default.removeprefix(":-")
        if text is None:
            message = f"the environment variable {name} is not set, set it or write ${{{name}:-…}}"
            return self._refuse(found, path, message)
        if not text.isprintable():
            message = (
                f"found a line break or an invisible character in the environment variable {name}"
            )
            message += ", expected one line of visible text"
            return self._refuse(found, path, message)
        return text

    def _refuse(self, found: re.Match[str], path: KeyPath, message: str) -> str:
        self.mistakes.append(self._document.mistake(path, message))
        return found[0]
