"""Configuration and format files that somebody mistyped: each is right, or its mistakes are told,
and whatever is right works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import event, example, given
from hypothesis import strategies as st

from sidecar.core.format import Format
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy, Quoted, ToolCalls, Unclosed
from sidecar.core.vocabulary import Vocabulary
from sidecar.errors import ConfigError
from sidecar.resources import config_dir
from sidecar.rules.catalogue import load_format, shipped_folder, shipped_names
from sidecar.rules.config import Config, load_config
from sidecar.rules.ruleset import RuleSet
from tests.cuts import at_random, units
from tests.fuzz.budget import examples
from tests.fuzz.mutations import bytewise, damaged
from tests.promises import CATALOGUE, literals, segments

T = TypeVar("T")

KEY = "qz-secret-key"
CONFIG = (config_dir() / "sidecar.yaml").read_bytes()
FORMATS = tuple(path.read_bytes() for path in sorted(shipped_folder().glob("*.yaml")))
_YAML = (
    *(
        "&a ",
        "*a",
        "!!python/object/apply:os.system ",
        "<<: ",
        "- ",
        ": ",
        "? ",
        "[",
        "{",
        "|\n",
        ">",
    ),
    *("\t", "---\n", "...\n", "%YAML 1.1\n", "${X}", "${X:-a: b}", "${", "$$", "9" * 5000, "1e999"),
    *(".nan", "-.inf", "0x1f", "\\U0011ffff", '"\\ud83e"', "null", "''", "[" * 100, "- " * 100),
    *("a: " * 70, "\u2028", "🤔", "\ufeff", "# ", "'", '"', "&x [*x, *x]", "!!binary ", "1" * 18),
)
"""What means something in YAML, or to us."""
_LAUGHS = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c]\n" % (letter + 1, letter + 1, letter, letter, letter)
    for letter in range(ord("a"), ord("z"))
)
"""A file of a kilobyte that would mean 3 to the power of 25 values."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files are written."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "formats").mkdir()
    return folder


def loaded(load: Callable[[], T], size: int) -> T | ConfigError:
    """What a file of ``size`` bytes is, or its mistakes, each a sentence on one line; told after an
    effort that its size bounds."""
    try:
        with _bounded(1_000 * size + 1_000_000):
            return load()
    except ConfigError as error:
        refused = error
    event("it has mistakes")
    assert refused.mistakes
    for mistake in refused.mistakes:
        assert mistake.message.strip()
        assert str(mistake).isprintable()
        assert len(str(mistake)) < 3000
    return refused


@contextmanager
def _bounded(calls: int) -> Iterator[None]:
    """Fails if the block takes more calls of functions."""
    left = calls

    def count(_frame: object, what: str, _argument: object) -> None:
        nonlocal left
        left -= what in ("call", "c_call")
        assert left > 0, "it takes too long"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)


@st.composite
def mistyped(draw: st.DrawFn, corpus: tuple[bytes, ...]) -> bytes:
    """One of these files, with a few things in it that do not belong there."""
    data = draw(bytewise(corpus))
    for piece in draw(st.lists(st.sampled_from(_YAML), max_size=2)):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + piece.encode() + data[at:]
    return data


@st.composite
def miswritten(draw: st.DrawFn, corpus: tuple[bytes, ...], own: Mapping[str, Any]) -> bytes:
    """One of these files, with other values in it than belong there; ``own`` are some of its
    keys."""
    value = {**yaml.safe_load(draw(st.sampled_from(corpus))), **own}
    for _ in range(draw(st.integers(1, 4))):
        value = draw(damaged(value))
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True).encode("utf-8", "surrogatepass")


class _Dumper(yaml.SafeDumper):
    """Writes no alias for what stands twice."""

    def ignore_aliases(self, _: object) -> bool:
        return True


# --- the configuration --------------------------------------------------------------------------

_UPSTREAM = {"base_url": "http://127.0.0.1/v1", "api_key": KEY}


@examples(150)
@given(mistyped((CONFIG,)) | miswritten((CONFIG,), {"upstream": _UPSTREAM}))
@example(_LAUGHS)
@example(b"[" * 100_000)
@example(b"listen: " + b"9" * 100_000)
@example(b"{a: " * 50_000)
def test_a_configuration_is_right_or_its_mistakes_are_told(folder: Path, data: bytes) -> None:
    """Nothing but ConfigError is raised, in bounded time; a right one has rules that work."""
    path = folder / "sidecar.yaml"
    path.write_bytes(data)
    config = loaded(lambda: load_config(path, {}, shipped_names()), len(data))
    if isinstance(config, Config):
        rules = RuleSet(config.rules, CATALOGUE, promoted=config.limits.promoted)
        for rule in rules.rules:
            lane = Lane(rule.ruling({}, model="m").vocabulary)
            assert segments(lane, ["<think>So</think>", "It is."])


@examples(60)
@given(
    st.sampled_from(
        [KEY, f"{KEY}\n", [KEY], {KEY: 1}, {"a": KEY}, f"ü{KEY}", "${K}", f"${{{KEY}}}"]
    )
    | st.text().map(lambda text: text + KEY),
    st.sampled_from(["", "\t", ": ", "[", "!x ", "&x ", "*x ", "- ", "'"]),
)
def test_no_mistake_shows_the_key(folder: Path, value: Any, before: str) -> None:
    """Whatever is wrong with it, and whatever stands before it."""
    key = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10_000)
    text = f"upstream:\n  base_url: 1\n  api_key: {before}{key}"
    path = folder / "sidecar.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    environment = {"K": f"{KEY}\n"}
    error = loaded(lambda: load_config(path, environment, shipped_names()), len(text))
    assert isinstance(error, ConfigError)
    assert KEY not in str(error)


# --- formats ------------------------------------------------------------------------------------

_POLICIES = (
    Policy(),
    Policy(tool_calls=ToolCalls.DECLARED, unclosed=Unclosed.SHOW, quoted=Quoted.DROP),
    Policy(tool_calls=ToolCalls.MOVE, case_insensitive=True, attributes=True),
)


@examples(150)
@given(mistyped(FORMATS) | miswritten(FORMATS, {"id": "x"}), st.sampled_from(_POLICIES))
def test_a_format_is_right_or_its_mistakes_are_told(
    folder: Path, data: bytes, policy: Policy
) -> None:
    """Nothing but ConfigError is raised, in bounded time; with a right one every character of a
    text comes out once, in order, however it is cut."""
    path = folder / "formats" / "x.yaml"
    path.write_bytes(data)
    format_ = loaded(lambda: load_format(path, shipped_folder()), len(data))
    if not isinstance(format_, Format):
        return
    vocabulary = Vocabulary([format_], policy)
    texts = [example_.text for example_ in format_.examples[:3]]
    for text in (*texts, "a ".join(sorted(literals([format_])))):
        whole = segments(Lane(vocabulary), [text])
        assert "".join(segment.text for segment in whole) == text
        for pieces in (units(text), *at_random(text, 2)):
            assert segments(Lane(vocabulary), pieces) == whole
