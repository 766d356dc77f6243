"""Strict YAML: what is read, what is refused, and where a mistake is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import ConfigError, Mistake
from sidecar.rules.strictyaml import MAX_BYTES, Document, Loader, Value, load, parse

LOADERS: list[Loader] = [yaml.CSafeLoader, yaml.SafeLoader]


def refused(text: str, loader: Loader = yaml.CSafeLoader) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text, "f.yaml", loader)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("TRUE", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("10", 10),
        ("-3", -3),
        ("0", 0),
        ("1.5e3", 1500.0),
        ("0.5", 0.5),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("0x10", "0x10"),
        ("0o17", "0o17"),
        ("=", "="),
        ('"010"', "010"),
        ("'true'", "true"),
        ('"\\u003cthink>"', "<think>"),
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Value) -> None:
    """A scalar is what the core schema of YAML 1.2 says, whatever YAML 1.1 said."""
    found = parse(f"key: {text}\n", "f.yaml").value
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


def test_structures_are_plain_dicts_and_lists() -> None:
    """Block and flow collections and block text come out as plain Python values."""
    text = "a: [1, {b: c}]\nd:\n- e\n- |\n  x\n  y\n"
    assert parse(text, "f.yaml").value == {"a": [1, {"b": "c"}], "d": ["e", "x\ny\n"]}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "\ufeff"])
def test_an_empty_file_is_nothing(text: str) -> None:
    """A file without content is None at its first place."""
    document = parse(text, "f.yaml")
    assert document.value is None
    assert document.position(()) == (1, 1)


def test_positions_of_values_and_keys() -> None:
    """A value, a key, an empty value and what is missing all have a place."""
    document = parse("a: 1\nrules:\n  - name: x\n    match:\n", "f.yaml")
    assert document.position(("rules", 0, "name")) == (3, 11)
    assert document.key_position(("rules", 0, "name")) == (3, 5)
    assert document.position(("rules", 0, "match")) == (4, 5)
    assert document.position(("rules", 0, "formats", 3)) == (3, 5)
    assert document.position(("nowhere",)) == (1, 1)
    assert document.key_position(("nowhere",)) == (1, 1)


def test_the_representation_of_a_document_shows_no_values() -> None:
    """A document in a log holds no secret."""
    assert "sk-1" not in repr(parse("api_key: sk-1", "f.yaml"))


MISTAKES = [
    ("a: 1\nb: 010\n", 'f.yaml:2:4: b: found 010, a number with a leading 0, expected 10 or "010"'),
    ("-007", 'f.yaml:1:1: found -007, a number with a leading 0, expected -7 or "-007"'),
    (
        "a: 1234567890123456789\n",
        "f.yaml:1:4: a: found a number of more than 18 digits, expected it in quotes",
    ),
    ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: found again, first on line 1, expected it once"),
    ("a: 1\nb: {c: 1, c: 2}", "f.yaml:2:11: b.c: found again, first on line 2, expected it once"),
    ("a: &x 1\n", "f.yaml:1:4: a: found an anchor (&), expected values without anchors"),
    ("&x a: 1\n", "f.yaml:1:1: found an anchor (&), expected values without anchors"),
    ("a: *x\n", "f.yaml:1:4: a: found an alias (*), expected the value written out"),
    ("<<: {a: 1}\n", "f.yaml:1:1: found the merge key <<, expected the keys written out"),
    (
        "a:\n  b: !!python/object:os.system x\n",
        "f.yaml:2:6: a.b: found a tag (!), expected a plain or quoted value",
    ),
    ("a: !h!x 1\n", "f.yaml:1:4: found a tag (!), expected a plain or quoted value"),
    ("a: 1\n---\nb: 2\n", "f.yaml:2:1: found a second document, expected one a file"),
    ("%YAML 1.2\n---\na: 1\n", "f.yaml:1:1: found a % directive, expected none"),
    ("1: a\n", "f.yaml:1:1: found 1 as key, expected text; write it in quotes"),
    ("a:\n  true: a\n", "f.yaml:2:3: a: found true as key, expected text; write it in quotes"),
    ("? \n: a\n", "f.yaml:1:2: found nothing as key, expected text; write it in quotes"),
    ("? [a]\n: b\n", "f.yaml:1:3: found a key of many parts, expected text as key"),
    ("a:\n\tb: 1\n", 'f.yaml:2:1: found a tab, expected spaces; in a value write "\\t"'),
    (
        "a: \u2028\n",
        'f.yaml:1:4: found the invisible character U+2028, expected it as an escape in "…"',
    ),
    ('a: "\\ud83e"\n', "f.yaml:1:4: a: found half a surrogate pair, expected a character"),
    (
        'a: 1\nb: "\\U00110000"\n',
        'f.yaml:2:5: found an escape beyond "\\U0010ffff", expected a character that exists',
    ),
    ("a: b: c\n", "f.yaml:1:5: found a ':' where no key can be, expected quotes around the value"),
    ("a: b\nc\n", "f.yaml:2:1: found a line without ':', expected 'key: value'"),
    ("a: @b\n", "f.yaml:1:4: found a character that starts no value, expected quotes"),
    ("a: 1\nb: 'c\nd: 2\n", "f.yaml:2:4: found a quote that is never closed, expected its end"),
    (
        "a: 1\nb: [c, d\ne: f\n",
        "f.yaml:2:4: found a list that goes wrong, expected ',' or ']' after each item",
    ),
    (
        "a: {b: 1\nc: 2\n",
        "f.yaml:1:4: found a mapping that goes wrong, expected ',' or '}' after each pair",
    ),
    (
        "a:\n    b: 1\n  c: 2\n",
        "f.yaml:3:3: found something that does not fit, expected the indentation of lines above",
    ),
    (
        "  a: 1\nb: 2\n",
        "f.yaml:2:1: found something that does not fit, expected the indentation of lines above",
    ),
    ("a: - b\n", "f.yaml:1:4: found a list inside a line, expected each item on its own line"),
    ("a: ]\n", "f.yaml:1:4: found punctuation, expected a value; write it in quotes"),
    ('a: "\\d"\n', 'f.yaml:1:6: found an unknown escape, expected \\\\ for a backslash in "…"'),
    ('a: "\\xz"\n', 'f.yaml:1:7: found an unfinished escape, expected hexadecimal digits in "…"'),
    (
        "a: |x\n",
        "f.yaml:1:5: found something that is not YAML: "
        "expected chomping or indentation indicators, but found 'x'",
    ),
]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(("text", "line"), MISTAKES)
def test_each_mistake_is_one_line_that_says_where(text: str, line: str, loader: Loader) -> None:
    """Each kind of mistake has a place, what was found and what is right, with both parsers."""
    assert refused(text, loader) == line


def test_all_mistakes_are_told_at_once() -> None:
    """Mistakes that allow reading on are collected, in the order of the file."""
    lines = refused("b: 010\na: &x 1\na: 2\n").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["f.yaml:1:4", "f.yaml:2:4", "f.yaml:3:1"]


def test_a_secret_is_not_shown() -> None:
    """The value of api_key is in no mistake, whatever is wrong with it."""
    for text in ("api_key: 0123", "api_key: !0123", "api_key: *0123", "api_key: &0123 x"):
        assert "0123" not in refused(text)


def test_a_question_mark_in_a_flow_list_needs_quotes() -> None:
    """The two parsers differ on it, so that both refuse it, and take it quoted."""
    assert refused("a: [gpt-?]", LOADERS[0]) == refused("a: [gpt-?]", LOADERS[1])
    assert parse("a: ['gpt-?']\nb: gpt-?", "f.yaml").value == {"a": ["gpt-?"], "b": "gpt-?"}


@pytest.mark.parametrize("loader", LOADERS)
def test_nesting_is_bounded(loader: Loader) -> None:
    """64 levels are read, 65 are a mistake, and a million are refused as fast."""
    parse("[" * 64 + "]" * 64, "f.yaml", loader)
    for text in ("[" * 66 + "]" * 66, "[" * 1_000_000, "- " * 500_000):
        assert "found more than 64 levels, expected fewer" in refused(text, loader)


def test_size_is_bounded(tmp_path: Path) -> None:
    """More than 1 MiB is refused, in characters of any width and in a file."""
    assert refused("é" * (MAX_BYTES // 2 + 1)) == (
        "f.yaml: found more than 1 MiB, expected a smaller file"
    )
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"big\.yaml: found more than 1 MiB"):
        load(path)


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    """The path is the name of the file in its mistakes; a byte order mark is no matter."""
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\n")
    assert load(path).value == {"a": "é"}
    assert load(path).file == str(path)


def test_a_file_that_is_not_utf8_is_a_mistake(tmp_path: Path) -> None:
    """The first byte that is not UTF-8 is shown with its place."""
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: é\nb: ".encode() + b"\xe9\n")
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value) == f"{path}:2:4: found the byte 0xe9, expected UTF-8 text"


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    """A missing file and a folder are each one sentence."""
    for path, reason in ((tmp_path / "none", "no such file or directory"), (tmp_path, "directory")):
        with pytest.raises(ConfigError) as error:
            load(path)
        (mistake,) = error.value.mistakes
        assert str(mistake).startswith(f"{path}: cannot be read (")
        assert reason in mistake.message


def outcome(text: str, loader: Loader) -> tuple[str, object] | tuple[Mistake, ...]:
    try:
        document: Document = parse(text, "f.yaml", loader)
    except ConfigError as error:
        return error.mistakes
    # repr, because NaN is not equal to itself.
    return repr(document.value), (document.places, document.key_places)


PIECES = ["a", "key: ", "- ", ": ", ":", " ", "\n", "\n  ", "\n- ", "[", "]", "{", "}", ", ", "'"]
PIECES += ['"', "#", "|\n", ">-\n  ", "?", "? ", "!", "!!str ", "&a ", "*a", "%", "\n---\n", "..."]
PIECES += ["010", "1.5", "true", "~", "\\", "\\u12", "@", "é", "\r\n", "<<: ", "\t", "\\U00110000"]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text())
def test_any_text_is_a_value_or_mistakes_alike_with_both_parsers(text: str) -> None:
    """No text raises anything but ConfigError, and both parsers say the same of it."""
    assert outcome(text, yaml.CSafeLoader) == outcome(text, yaml.SafeLoader)


@given(st.text(), st.text())
def test_a_mistake_is_one_line(key: str, value: str) -> None:
    """Whatever stands in a file, each of its mistakes is one line."""
    text = yaml.safe_dump({key: {key: [value]}}, allow_unicode=True) + "\n? [x]\n: 1\n"
    with pytest.raises(ConfigError) as error:
        parse(text, "f.yaml")
    assert all(len(str(mistake).splitlines()) == 1 for mistake in error.value.mistakes)
