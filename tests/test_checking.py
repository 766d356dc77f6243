"""What ``sidecar check`` finds right, and what it finds wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.checking import Checked, check, summary, wrong_results
from sidecar.core.format import Example, Format
from sidecar.resources import config_dir
from tests.promises import CATALOGUE

FORMATS = sorted(CATALOGUE.formats.values(), key=lambda f: f.id)
THINK = CATALOGUE.formats["think"]
HERMES = CATALOGUE.formats["hermes_tool_call"]

per_format = pytest.mark.parametrize("format_", FORMATS, ids=lambda f: f.id)


@pytest.fixture
def formats(tmp_path: Path) -> Path:
    """A folder ``formats`` with one format in it."""
    folder = tmp_path / "formats"
    folder.mkdir()
    shutil.copy(config_dir() / "formats" / "thinking.yaml", folder)
    return folder


def test_what_ships_with_the_package_is_right() -> None:
    right, wrong = check([config_dir()], {})
    assert wrong == []
    configs = len(list(config_dir().glob("*.yaml")))
    assert len(right) == len(FORMATS) + configs
    assert any(str(file).endswith("sidecar.yaml: 2 rules") for file in right)
    examples = sum(len(format_.examples) for format_ in FORMATS)
    assert summary(right) == (
        f"{len(right)} files, {len(FORMATS)} families, {examples} examples held in every cut"
    )


def test_one_is_counted_as_one() -> None:
    config, format_ = Checked(Path("c"), False, 1), Checked(Path("f"), True, 1)
    assert [str(config), str(format_)] == ["c: 1 rule", "f: 1 example held in every cut"]
    assert summary([config]) == "1 file"
    assert summary([format_]) == "1 file, 1 family, 1 example held in every cut"


def test_the_formats_that_a_configuration_names_are_checked_with_it(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    path = tmp_path / "mine.yaml"
    path.write_text(
        "upstream: {base_url: 'http://u/v1'}\nformats: own\nrules: [{formats: [mine]}]\n", "utf-8"
    )
    text = (config_dir() / "formats" / "thinking.yaml").read_text(encoding="utf-8")
    (own / "mine.yaml").write_text(text.replace("id: thinking", "id: mine"), "utf-8")
    for paths in ([path], [tmp_path], [own, path]):
        right, wrong = check(paths, {})
        assert wrong == []
        assert sorted(file.path for file in right) == [path, own / "mine.yaml"]
    (own / "mine.yaml").write_text("", "utf-8")
    right, wrong = check([path], {})
    assert [file.path for file in right] == [path]
    assert {mistake.file for mistake in wrong} == {str(own / "mine.yaml")}
    assert {mistake.path for mistake in wrong} >= {"id", "models", "examples"}


def test_a_format_is_told_from_a_configuration_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("regions: []\n", "utf-8")
    right, wrong = check([path], {})
    assert right == []
    assert {mistake.path for mistake in wrong} >= {"id", "models", "examples"}


def test_the_mistakes_of_a_shape_are_told_once(formats: Path) -> None:
    path = formats / "thinking.yaml"
    text = path.read_text(encoding="utf-8")
    head, examples = text.partition("regions:")[0], "examples:" + text.partition("examples:")[2]
    like = head.replace("id: thinking", "id: like") + "shape: thinking\n" + examples
    (formats / "like.yaml").write_text(like, "utf-8")
    assert check([formats], {})[1] == []
    path.write_text(text.replace("channel: reasoning", "channel: resoning"), "utf-8")
    [mistake] = check([formats], {})[1]
    assert mistake.file == str(path)


def test_a_format_may_name_those_that_ship_with_the_package(formats: Path) -> None:
    path = formats / "thinking.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("channel: reasoning", "channel: reasoning\n    interrupts: [think]")
    )
    assert check([formats], {})[1] == []


@per_format
def test_a_format_says_how_many_of_its_examples_hold(format_: Format) -> None:
    path = config_dir() / "formats" / f"{format_.id}.yaml"
    right, wrong = check([path], {})
    count = len(format_.examples)
    assert (list(map(str, right)), wrong) == ([f"{path}: {count} examples held in every cut"], [])


@pytest.mark.parametrize("channel", ["visible", "reasoning", "tool_call", "tool_result"])
@per_format
def test_an_example_that_expects_something_else_is_told_so(format_: Format, channel: str) -> None:
    example: Example = format_.examples[0]
    expected = getattr(example, channel) + "x"
    [sentence] = [
        s
        for s in wrong_results(format_, replace(example, **{channel: expected}))
        if f": {channel} is" in s
    ]
    assert sentence.startswith(f"'{example.name}': {channel} is {getattr(example, channel)!r}")
    assert f"expected {expected!r}" in sentence


def test_an_example_that_names_a_tool_that_is_not_called_is_told_so() -> None:
    example = next(e for e in HERMES.examples if e.tools)
    [sentence] = wrong_results(HERMES, replace(example, tools=(*example.tools, "nowhere")))
    assert "'nowhere'" in sentence


def test_an_example_that_leaves_out_a_tool_that_is_called_is_told_so() -> None:
    example = next(e for e in HERMES.examples if len(e.tools) == 1)
    assert wrong_results(HERMES, replace(example, tools=("another",)))


def test_an_example_is_tried_at_every_cut() -> None:
    # Right whole and wrong in pieces cannot be: so each of its cuts must have been tried.
    example = Example("mine", "a<think>b</think>c", "ac", "b")
    assert wrong_results(THINK, example) == []
    wrong = replace(example, visible="abc")
    assert wrong_results(THINK, wrong) == ["'mine': visible is 'ac', expected 'abc' (cut into 1)"]


def test_a_wrong_example_is_a_mistake_of_its_file_with_its_line(formats: Path) -> None:
    path = formats / "thinking.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('visible: "First.\\nSecond."', 'visible: "First."'), "utf-8")
    right, [mistake] = check([formats], {})
    assert right == []
    assert mistake.file == str(path)
    assert mistake.path.startswith("examples.1")
    assert "visible is 'First.\\nSecond.', expected 'First.'" in mistake.message
    assert "text before and after" in text.splitlines()[mistake.line - 1]


def test_every_mistake_of_every_file_is_found_at_once(tmp_path: Path, formats: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("upstream: {base_url: 'http://u/v1'}\nlisten: nowhere\nrulez: []\n", "utf-8")
    two.write_text("upstream:\n  base_url: 7\n", "utf-8")
    (formats / "odd.yaml").write_text("id: odd\n", "utf-8")
    right, wrong = check([tmp_path], {})
    assert [file.path for file in right] == [formats / "thinking.yaml"]
    assert {Path(mistake.file).name for mistake in wrong} == {"one.yaml", "two.yaml", "odd.yaml"}
    assert [m.line for m in wrong if m.file == str(one)] == [2, 3]
    assert [m.line for m in wrong if m.file == str(two)] == [2]


def test_the_environment_is_the_one_that_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("upstream:\n  base_url: ${WHERE}\n", "utf-8")
    right, wrong = check([path], {"WHERE": "http://u/v1"})
    assert (len(right), wrong) == (1, [])
    right, [mistake] = check([path], {})
    assert right == []
    assert (mistake.line, "WHERE" in mistake.message) == (2, True)


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, formats: Path) -> None:
    for path in (tmp_path / "odd.yaml", formats / "odd.yaml"):
        path.write_bytes(b"\xff\xfe\x00")
        right, wrong = check([path], {})
        assert right == []
        assert [mistake.file for mistake in wrong] == [str(path)]
        path.unlink()
