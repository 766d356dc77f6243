"""The format files: what they become, what a rule may name, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.core.channel import Channel
from sidecar.core.format import At, Body, Example, Format, Region, ToolName
from sidecar.errors import ConfigError
from sidecar.resources import config_dir
from sidecar.rules.catalogue import Catalogue, load_catalogue, load_format

HEAD = """id: f
models: [M]
sources: [s]
groups: [all, reasoning]
why: it is unmistakable
"""
REGIONS = """regions:
  - {channel: reasoning, open: ["<t>"], close: ["</t>"]}
"""
EXAMPLES = """examples:
  - {name: plain, text: "<t>a</t>b", visible: b, reasoning: a}
"""


def refused(folder: Path, text: str) -> list[str]:
    """The mistakes, without the folder."""
    path = folder / "f.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_format(path)
    return [str(mistake).removeprefix(f"{folder}/") for mistake in error.value.mistakes]


def test_a_short_file_has_its_defaults(tmp_path: Path) -> None:
    """Only markers and examples have to be written."""
    (tmp_path / "f.yaml").write_text(HEAD + REGIONS + EXAMPLES)
    assert load_format(tmp_path / "f.yaml") == Format(
        id="f",
        regions=(Region("reasoning", Channel.REASONING, ("<t>",), ("</t>",)),),
        groups=frozenset({"all", "reasoning"}),
        examples=(Example("plain", "<t>a</t>b", "b", reasoning="a"),),
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    """All keys of the file arrive in the value that they belong to."""
    (tmp_path / "f.yaml").write_text(
        """id: f
models: [M, N]
sources: [s]
groups: []
why: react is plain prose
regions:
  - name: head
    channel: markup
    open: ["<h>"]
    close: ["<b>"]
    at: line
    then: call
    interrupts: [reasoning, self]
    stray_close: text
  - name: call
    channel: tool_call
    close: ["</c>"]
    body: json
    tool_name: {json: name}
  - name: named
    channel: tool_call
    open: ["<f="]
    at: start
    tool_name: {after: "<f=", until: [">"], strip: ["functions."], until_last: ":"}
discard: ["<|return|>"]
examples:
  - name: all of it
    text: t
    visible: v
    reasoning: r
    tool_call: c
    tool_result: o
    starts_in: reasoning
    tools: [n]
"""
    )
    head = Region(
        "head",
        Channel.MARKUP,
        ("<h>",),
        ("<b>",),
        At.LINE,
        then="call",
        interrupts=frozenset({"reasoning", "self"}),
        stray_close_is_text=True,
    )
    call = Region(
        "call",
        Channel.TOOL_CALL,
        close=("</c>",),
        body=Body.JSON,
        tool_name=ToolName(json="name"),
    )
    named = Region(
        "named",
        Channel.TOOL_CALL,
        ("<f=",),
        at=At.START,
        tool_name=ToolName(after="<f=", until=(">",), strip=("functions.",), until_last=":"),
    )
    assert load_format(tmp_path / "f.yaml") == Format(
        id="f",
        regions=(head, call, named),
        discard=("<|return|>",),
        groups=frozenset(),
        examples=(Example("all of it", "t", "v", "r", "c", "o", True, ("n",)),),
    )


def region(keys: str) -> str:
    return HEAD + f"regions:\n  - {{{keys}}}\n" + EXAMPLES


FROM_LIST = "'reasoning', 'tool_call', 'tool_result', 'markup' or 'content'"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEAD.replace("id: f", "id: g") + REGIONS + EXAMPLES,
         "1:5: id: found 'g', expected 'f', the name of the file"),
        (HEAD.replace("id: f", "id: F") + REGIONS + EXAMPLES,
         "1:5: id: found 'F', expected lower-case letters, digits and underscores"),
        (HEAD.replace("[M]", "[]") + REGIONS + EXAMPLES,
         "2:9: models: found an empty list, expected at least one entry"),
        (HEAD.replace("[M]", "M") + REGIONS + EXAMPLES, "2:9: models: found 'M', expected a list"),
        (HEAD.replace("[s]", "['']") + REGIONS + EXAMPLES,
         "3:11: sources.0: found '', expected some text"),
        (HEAD.replace("[all,", "[al,") + REGIONS + EXAMPLES,
         "4:10: groups.0: found 'al', expected 'all', 'reasoning' or 'tools'; did you mean 'all'?"),
        (HEAD.replace("why: it is unmistakable\n", "") + REGIONS + EXAMPLES,
         "1:1: why: is missing, expected one sentence: why it is in these groups or in none"),
        (HEAD + EXAMPLES, "1:1: regions: is missing, expected a list of regions"),
        (HEAD + "regions: []\n" + EXAMPLES,
         "6:10: regions: found an empty list, expected at least one entry"),
        (HEAD + REGIONS, "1:1: examples: is missing, expected a list of at least one example"),
        (HEAD + REGIONS + "examples: []",
         "8:11: examples: found an empty list, expected at least one entry"),
        (HEAD + REGIONS + "examples:\n  - {name: a, text: b}",
         "9:5: examples.0.visible: is missing, expected what is left of it for the reader"),
        (HEAD + REGIONS + EXAMPLES + "discards: [x]",
         "10:1: discards: unknown key, expected 'id', 'models', 'sources', 'groups', 'why', "
         "'regions', 'discard' or 'examples'; did you mean 'discard'?"),
        (HEAD + REGIONS + EXAMPLES + "discard: ['']",
         "10:11: discard.0: found '', expected a marker of 1 to 64 characters"),
        (region(f"channel: reasoning, open: ['{'x' * 65}']"),
         f"7:33: regions.0.open.0: found '{'x' * 59}…, expected a marker of 1 to 64 characters"),
        (region("open: [x]"),
         "7:5: regions.0.channel: is missing, expected what the text in the region is"),
        (region("channel: resoning, open: [x]"),
         f"7:15: regions.0.channel: found 'resoning', expected {FROM_LIST}; "
         "did you mean 'reasoning'?"),
        (region("channel: separator, open: [x]"),
         f"7:15: regions.0.channel: found 'separator', expected {FROM_LIST}"),
        (region("channel: reasoning, open: [x], at: top"),
         "7:41: regions.0.at: found 'top', expected 'anywhere', 'line' or 'start'"),
        (region("channel: reasoning, open: [x], body: jso"),
         "7:43: regions.0.body: found 'jso', expected 'text' or 'json'; did you mean 'json'?"),
        (region("channel: reasoning, open: [x], interrupts: [content]"),
         "7:50: regions.0.interrupts.0: found 'content', expected 'reasoning', 'tool_call', "
         "'tool_result', 'self' or the id of a format"),
        (region("channel: reasoning, open: [x], stray_close: keep"),
         "7:50: regions.0.stray_close: found 'keep', expected 'drop' or 'text'"),
        (region("channel: content, open: [x], close: [y]"),
         "7:42: regions.0.close: found close markers of content, expected none: it is all the "
         "rest"),
        (region("channel: reasoning, close: [y]"),
         "7:5: regions.0: found no way into 'reasoning', expected open markers or a 'then' that "
         "names it"),
        (region("channel: reasoning, open: [x], then: reasonig"),
         "7:43: regions.0.then: found 'reasonig', expected 'reasoning'; did you mean 'reasoning'?"),
        (HEAD + REGIONS + "  - {channel: reasoning, open: [x]}\n" + EXAMPLES,
         "8:5: regions.1.name: found 'reasoning', expected a name of its own: regions.0 has it"),
        (region("channel: reasoning, open: [x], tool_name: {json: name}"),
         "7:48: regions.0.tool_name: found the name of a tool in reasoning, expected it in a "
         "tool_call"),
        (region("channel: tool_call, open: [x], tool_name: {json: a, after: b, until: [c]}"),
         "7:48: regions.0.tool_name: found both or neither of 'json' and 'after', expected one of "
         "them"),
        (region("channel: tool_call, open: [x], tool_name: {until: [c]}"),
         "7:48: regions.0.tool_name: found both or neither of 'json' and 'after', expected one of "
         "them"),
        (region("channel: tool_call, open: [x], tool_name: {after: b}"),
         "7:48: regions.0.tool_name: found 'after' without 'until', expected the literals that "
         "end a name"),
        (region("channel: tool_call, open: [x], tool_name: {json: a, strip: [b]}"),
         "7:48: regions.0.tool_name: found 'until', 'strip', 'until_last' or 'once' with 'json', "
         "expected 'after'"),
        (region("channel: tool_call, open: [x], tool_name: {jsn: a, after: b, until: [c]}"),
         "7:49: regions.0.tool_name.jsn: unknown key, expected 'json', 'after', 'until', 'strip', "
         "'until_last' or 'once'; did you mean 'json'?"),
        (region("channel: tool_call, open: [x], tool_name: {after: b, until: ['']}"),
         "7:67: regions.0.tool_name.until.0: found '', expected a marker of 1 to 64 characters"),
        (HEAD + REGIONS + "  - nothing\n" + EXAMPLES,
         "8:5: regions.1: found 'nothing', expected a mapping of keys to values"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    """A mistake says where it is, what was found and what is right."""
    assert refused(tmp_path, text) == [f"f.yaml:{line}"]


def test_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    """Each file says all that is wrong with it, and one bad file does not hide the next."""
    (tmp_path / "a.yaml").write_text("id: b\n" + HEAD[6:] + REGIONS + "examples: []\n")
    (tmp_path / "b.yaml").write_text("a: [")
    (tmp_path / "f.yaml").write_text(HEAD + REGIONS + EXAMPLES)
    with pytest.raises(ConfigError) as error:
        load_catalogue(tmp_path)
    found = [(Path(mistake.file).name, mistake.line) for mistake in error.value.mistakes]
    assert found == [("a.yaml", 1), ("a.yaml", 8), ("b.yaml", 1)]


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_folder_without_formats_is_a_mistake(tmp_path: Path, folder: str) -> None:
    """No formats would hide nothing, so that an empty or missing folder is refused."""
    with pytest.raises(ConfigError, match=r"found no \*\.yaml file, expected a folder of formats"):
        load_catalogue(tmp_path / folder)


CATALOGUE = Catalogue(
    {
        "a": Format("a", (), groups=frozenset({"all", "tools"})),
        "b": Format("b", ()),
        "reasoning": Format("reasoning", (), groups=frozenset({"all"})),
        "z": Format("z", (), groups=frozenset({"all", "reasoning"})),
    }
)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([], []),
        (["b"], ["b"]),
        (["all"], ["a", "reasoning", "z"]),
        (["z", "all"], ["z", "a", "reasoning"]),
        (["tools", "b", "b", "tools"], ["a", "b"]),
        (["reasoning"], ["reasoning", "z"]),
    ],
)
def test_names_mean_formats_in_order_and_once(names: list[str], ids: list[str]) -> None:
    """Ids and groups mix; what is both an id and a group means the format and the group."""
    assert [format_.id for format_ in CATALOGUE.resolve(names)] == ids


def test_the_names_are_ids_and_groups() -> None:
    """What a rule may list is listed once each, and nothing else resolves."""
    assert CATALOGUE.names() == ("a", "b", "reasoning", "z", "all", "tools")
    with pytest.raises(KeyError, match="thnk"):
        CATALOGUE.resolve(["thnk"])


def test_the_formats_that_ship_are_read() -> None:
    """Every format file of the project is in the catalogue, in the order of file names."""
    folder = config_dir() / "formats"
    catalogue = load_catalogue(folder)
    assert list(catalogue.formats) == sorted(path.stem for path in folder.glob("*.yaml"))
    assert all(format_.examples for format_ in catalogue.formats.values())
