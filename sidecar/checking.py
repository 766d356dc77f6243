"""``sidecar check``: files are read as they would be served, and every example is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.core.channel import Channel, Segment
from sidecar.core.format import Example, Format
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy, ToolCalls
from sidecar.core.vocabulary import Opening, Vocabulary
from sidecar.errors import ConfigError, Mistake
from sidecar.rules import strictyaml
from sidecar.rules.catalogue import load_format, shipped_folder, shipped_names
from sidecar.rules.config import load_config
from sidecar.rules.formatfile import FormatSection

_CHANNELS = (
    ("visible", Channel.CONTENT),
    ("reasoning", Channel.REASONING),
    ("tool_call", Channel.TOOL_CALL),
    ("tool_result", Channel.TOOL_RESULT),
)


class Checked(NamedTuple):
    """A file that is right: a family with so many examples, or a configuration with so many rules;
    as text, the line that says so."""

    path: Path
    family: bool
    counted: int

    def __str__(self) -> str:
        if self.family:
            return f"{self.path}: {_counted(self.counted, 'example')} held in every cut"
        return f"{self.path}: {_counted(self.counted, 'rule')}"


def check(
    paths: Iterable[Path],
    environment: Mapping[str, str],
    *,
    begins: Callable[[Path], None] | None = None,
) -> tuple[list[Checked], list[Mistake]]:
    """The files that are right, and the mistakes of the others. ``begins`` is told of each file.

    A path is a configuration file, a format file, or a folder of both. The folder of formats that
    a configuration names is checked with it.
    """
    right: list[Checked] = []
    wrong: list[Mistake] = []
    waiting = list(_files(paths))
    seen: set[Path] = set()
    own: set[Path] = set()
    for path in waiting:  # which grows: a configuration may name a folder
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        if begins:
            begins(path)
        try:
            if path.parent in own or _is_format(path):
                right.append(_check_format(path))
            else:
                config = load_config(path, environment, shipped_names())
                right.append(Checked(path, False, len(config.rules)))
                if config.formats:
                    own.add(config.formats)
                    waiting += sorted(config.formats.glob("*.yaml"))
        except ConfigError as error:
            wrong.extend(error.mistakes)
    # Files whose shape is a wrong file have its mistakes too.
    return right, list(dict.fromkeys(wrong))


def summary(right: Sequence[Checked]) -> str:
    """What was checked, in one line."""
    families = [file.counted for file in right if file.family]
    counts = [_counted(len(right), "file")]
    if families:
        counts.append(_counted(len(families), "family", "families"))
        counts.append(f"{_counted(sum(families), 'example')} held in every cut")
    return ", ".join(counts)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.yaml"))
        else:
            yield path


def _is_format(path: Path) -> bool:
    """Whatever is in a folder ``formats`` is one; elsewhere, what has a format's keys."""
    if path.resolve().parent.name == "formats":
        return True
    value = strictyaml.load(path).value
    keys = value.keys() if isinstance(value, dict) else set()
    return "upstream" not in keys and not keys.isdisjoint(FormatSection.model_fields)


def _check_format(path: Path) -> Checked:
    format_ = load_format(path, shipped_folder())
    document = strictyaml.load(path)
    mistakes = [
        document.mistake(("examples", index), text)
        for index, example in enumerate(format_.examples)
        for text in wrong_results(format_, example)
    ]
    if mistakes:
        raise ConfigError(mistakes)
    return Checked(path, True, len(format_.examples))


def wrong_results(format_: Format, example: Example) -> list[str]:
    """What an example says and the engine does not, a sentence each: whole, character by
    character, and at every cut."""
    vocabulary = Vocabulary([format_], Policy())
    start = _start(vocabulary, example)
    text = example.text
    cuts = [[text], list(text), *([text[:at], text[at:]] for at in range(1, len(text)))]
    for pieces in cuts:
        wrong = list(_differences(example, _segments(Lane(vocabulary, start=start), pieces)))
        if wrong:
            return [f"{sentence} (cut into {len(pieces)})" for sentence in wrong]
    return _wrong_names(format_, example)


def _start(vocabulary: Vocabulary, example: Example) -> Opening:
    return vocabulary.start_in_reasoning if example.starts_in_reasoning else vocabulary.start


def _segments(lane: Lane, pieces: Iterable[str]) -> list[Segment]:
    segments = [segment for piece in pieces for segment in lane.feed(piece)]
    return segments + lane.finish()


def _differences(example: Example, segments: list[Segment]) -> Iterator[str]:
    for name, channel in _CHANNELS:
        got = "".join(segment.text for segment in segments if segment.channel is channel)
        expected = getattr(example, name)
        if got != expected:
            yield f"'{example.name}': {name} is {got!r}, expected {expected!r}"


def _wrong_names(format_: Format, example: Example) -> list[str]:
    """The tools that the example names must be the very ones whose declaration keeps calls."""
    vocabulary = Vocabulary([format_], Policy(tool_calls=ToolCalls.DECLARED))

    def hidden(declared: Iterable[str]) -> int:
        lane = Lane(vocabulary, frozenset(declared), _start(vocabulary, example))
        segments = [*lane.feed(example.text), *lane.finish()]
        return sum(len(s.text) for s in segments if s.channel is Channel.TOOL_CALL)

    least = hidden(example.tools)
    return [
        f"'{example.name}': no call to {name!r} was read, though tools names it"
        for name in example.tools
        if hidden(set(example.tools) - {name}) <= least
    ]
