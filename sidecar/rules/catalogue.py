"""The folder of format files, and the names that a rule may use for what is in it.

What one file may say is :mod:`sidecar.rules.formatfile`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from sidecar.core.format import Format
from sidecar.errors import ConfigError, Mistake
from sidecar.resources import config_dir
from sidecar.rules.formatfile import (
    GROUPS,
    FormatSection,
    MarkersSection,
    between_regions,
    format_of,
)
from sidecar.rules.strictyaml import Document, load
from sidecar.rules.validation import validate

_FILES: Final = "*.yaml"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All formats by id, in the order of their files."""

    formats: Mapping[str, Format]

    def names(self) -> tuple[str, ...]:
        """What a rule may list: every id and every group."""
        return _names(self.formats)

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


def shipped_catalogue(own: Path | None = None) -> Catalogue:
    """The formats that ship with the package and those in the folder ``own``, which take the place
    of shipped ones of the same id; ``ConfigError`` with the mistakes of all."""
    shipped = _shipped()
    if own is None:
        return shipped
    return Catalogue({**shipped.formats, **load_catalogue(own, shipped_folder()).formats})


@cache
def _shipped() -> Catalogue:
    """Read once: what is installed is not another while a process runs, and to read it again would
    be the most of what a reload takes. Without the examples, which are three quarters of it, and
    come last: they were run before it was shipped."""
    return load_catalogue(shipped_folder(), examples=False)


def shipped_folder() -> Path:
    """Where the format files are that ship with the package."""
    return config_dir() / "formats"


def shipped_names() -> tuple[str, ...]:
    """What a rule may list without formats of its own, known without reading a file."""
    return _names(format_ids(shipped_folder()))


def format_ids(folder: Path) -> list[str]:
    """The ids of the format files in ``folder``: they are their names."""
    return [path.stem for path in format_files(folder)]


def format_files(folder: Path) -> list[Path]:
    """The format files in ``folder``; none if it is no folder."""
    return sorted(folder.glob(_FILES)) if folder.is_dir() else []


def _names(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*ids, *GROUPS)))


def load_catalogue(folder: Path, others: Path | None = None, *, examples: bool = True) -> Catalogue:
    """Every ``*.yaml`` in ``folder``, which may name formats in the folder ``others`` too, with its
    ``examples`` or as far as they begin; ``ConfigError`` with the mistakes of all of them."""
    formats: dict[str, Format] = {}
    mistakes: list[Mistake] = []
    known = _known(folder, others)
    for path in sorted(folder.glob(_FILES)):
        try:
            formats[path.stem] = _load(path, known, examples=examples)
        except ConfigError as error:
            mistakes += error.mistakes
    if not formats and not mistakes:
        # No formats would mean that nothing is recognised, and all of it shown.
        message = "found no *.yaml file, expected a folder of formats"
        mistakes.append(Mistake(str(folder), 0, 0, "", message))
    if mistakes:
        # A file whose shape several others have says its own mistakes to each of them.
        raise ConfigError(dict.fromkeys(mistakes))
    return Catalogue(formats)


def load_format(path: Path, others: Path | None = None) -> Format:
    """The format in the file at ``path``, with the regions of the file that its ``shape`` names if
    it has one; ``ConfigError`` with all the mistakes of the file.

    What it names is looked for beside it, and then in the folder ``others``.
    """
    return _load(path, _known(path.parent, others), examples=True)


def _known(folder: Path, others: Path | None) -> dict[str, Path]:
    """The files that a file in ``folder`` may name, by their ids."""
    folders = (others, folder) if others else (folder,)
    return {path.stem: path for each in folders for path in sorted(each.glob(_FILES))}


def _load(path: Path, known: Mapping[str, Path], *, examples: bool) -> Format:
    document, section = _read(path, known, examples=examples)
    shape = section
    if section.shape:
        _, shape = _read(known[section.shape], known, examples=examples)
        if shape.shape:
            message = f"found {section.shape!r}, expected {shape.shape!r}, whose shape that one has"
            raise ConfigError([document.mistake(("shape",), message)])
    return format_of(section, shape)


def _read(path: Path, known: Collection[str], *, examples: bool) -> tuple[Document, MarkersSection]:
    document = load(path, until=None if examples else "examples")
    also = tuple(between_regions(document))
    context = {"id": path.stem, "formats": sorted(known)}
    model = FormatSection if examples else MarkersSection
    return document, validate(document, model, also=also, context=context)
