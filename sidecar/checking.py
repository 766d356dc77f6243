"""``sidecar check``: files are read as they would be served, and every example is tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sidecar.core.channel import Channel, Segment
from sidecar.core.format import Example, Format
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy, ToolCalls
from sidecar.core.vocabulary import Opening, Vocabulary
from sidecar.errors import ConfigError, Mistake
from sidecar.rules import strictyaml
from sidecar.rules.catalogue import Catalogue, load_format, shipped_catalogue
from sidecar.rules.config import load_config

_CHANNELS = (
    ("visible", Channel.CONTENT),
    ("reasoning", Channel.REASONING),
    ("tool_call", Channel.TOOL_CALL),
    ("tool_result", Channel.TOOL_RESULT),
)


def check(paths: Iterable[Path], environment: Mapping[str, str]) -> tuple[list[str], list[Mistake]]:
    """What was found to be right, a line each, and the mistakes.

    A path is a configuration file, a format file (in a folder named ``formats``), or a folder of
    both.
    """
    right: list[str] = []
    wrong: list[Mistake] = []
    catalogue = shipped_catalogue()
    for path in _files(paths):
        try:
            right.append(f"{path}: {_check_file(path, catalogue, environment)}")
        except ConfigError as error:
            wrong.extend(error.mistakes)
    return right, wrong


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.yaml"))
        else:
            yield path


def _check_file(path: Path, catalogue: Catalogue, environment: Mapping[str, str]) -> str:
    if path.resolve().parent.name == "formats":
        format_ = load_format(path)
        document = strictyaml.load(path)
        mistakes = [
            document.mistake(("examples", index), text)
            for index, example in enumerate(format_.examples)
            for text in wrong_results(format_, example)
        ]
        if mistakes:
            raise ConfigError(mistakes)
        return f"{len(format_.examples)} examples hold in every cut"
    config = load_config(path, environment, catalogue.names())
    return f"{len(config.rules)} rules"


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
