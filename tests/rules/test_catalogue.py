"""The format files: what they become, what a rule may name, and every mistake with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.core.channel import Channel
from sidecar.core.format import (
    Arguments,
    ArgumentsAs,
    At,
    Body,
    Example,
    Format,
    Region,
    ToolName,
)
from sidecar.errors import ConfigError
from sidecar.resources import config_dir
from sidecar.rules.catalogue import (
    Catalogue,
    load_catalogue,
    load_format,
    shipped_catalogue,
    shipped_folder,
    shipped_names,
)
from sidecar.rules.formatfile import GROUPS

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
        models=("M",),
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
    proof: ["=("]
  - name: call
    channel: tool_call
    close: ["</c>"]
    body: json
    tool_name: {json: name}
    arguments: {as: member, keys: [arguments]}
  - name: thought
    channel: reasoning
    open: ["<t>"]
    close: ["</t>"]
    implicit: true
    escaped: true
  - name: named
    channel: tool_call
    open: ["<f="]
    close: ["</f>"]
    at: start
    inside: thought
    tool_name: {after: "<f=", until: [">"], strip: ["functions."], until_last: ":", once: true}
    arguments: {as: named, key: ["<k>", "</k>"], value: ["", "</v>"]}
  - name: functions
    channel: tool_call
    open: ["["]
    at: after
    body: python
    tool_name: {python: true}
    arguments: {as: python}
  - name: answer
    channel: content
    open: ["<a>"]
    last: true
discard: ["<|return|>"]
tail: ["</s>"]
opened_by_prompt: ["m-*"]
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
        proof=("=(",),
    )
    call = Region(
        "call",
        Channel.TOOL_CALL,
        close=("</c>",),
        body=Body.JSON,
        tool_name=ToolName(json="name"),
        arguments=Arguments(ArgumentsAs.MEMBER, ("arguments",)),
    )
    thought = Region("thought", Channel.REASONING, ("<t>",), ("</t>",), implicit=True, escaped=True)
    named = Region(
        "named",
        Channel.TOOL_CALL,
        ("<f=",),
        ("</f>",),
        At.START,
        inside="thought",
        tool_name=ToolName(
            after="<f=", until=(">",), strip=("functions.",), until_last=":", once=True
        ),
        arguments=Arguments(ArgumentsAs.NAMED, key=("<k>", "</k>"), value=("", "</v>")),
    )
    functions = Region(
        "functions",
        Channel.TOOL_CALL,
        ("[",),
        at=At.AFTER,
        body=Body.PYTHON,
        tool_name=ToolName(python=True),
        arguments=Arguments(ArgumentsAs.PYTHON),
    )
    answer = Region("answer", Channel.CONTENT, ("<a>",), last=True)
    assert load_format(tmp_path / "f.yaml") == Format(
        id="f",
        regions=(head, call, thought, named, functions, answer),
        discard=("<|return|>",),
        tail=("</s>",),
        models=("M", "N"),
        opened_by_prompt=("m-*",),
        groups=frozenset(),
        examples=(Example("all of it", "t", "v", "r", "c", "o", True, ("n",)),),
    )


def region(keys: str) -> str:
    return HEAD + f"regions:\n  - {{{keys}}}\n" + EXAMPLES


def call(keys: str) -> str:
    return region(f"channel: tool_call, open: [x], {keys}")


FROM_LIST = "'reasoning', 'tool_call', 'tool_result', 'markup' or 'content'"
NO_WAY = (
    "found none of 'python', 'json' and 'after', expected the one that says where the name stands"
)
NO_MARKERS = (
    "found no markers, expected a list of 'regions', or 'shape' with the id of the format whose "
    "regions these are"
)
GLOB = "expected a lower-case glob in which only * and ? have a meaning"
OPEN = "expected a value; leave the key out to leave it open"


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
        (HEAD + EXAMPLES, f"1:1: {NO_MARKERS}"),
        (HEAD + "discard: []\n" + EXAMPLES, f"1:1: {NO_MARKERS}"),
        (HEAD + REGIONS + "shape: g\n" + EXAMPLES,
         "1:1: found 'shape' and 'regions', expected only 'shape': it stands for all markers"),
        (HEAD + "shape: g\ntail: [x]\ndiscard: [y]\n" + EXAMPLES,
         "1:1: found 'shape', 'discard' and 'tail', expected only 'shape': it stands for all "
         "markers"),
        (HEAD + "shape: f\n" + EXAMPLES,
         "6:8: shape: found 'f', expected the id of another format"),
        (HEAD + "shape: gg\n" + EXAMPLES,
         "6:8: shape: found 'gg', expected the id of another format; did you mean 'g'?"),
        (HEAD + "shape:\n" + EXAMPLES, f"6:1: shape: found nothing, {OPEN}"),
        (HEAD + "shape: h\n" + EXAMPLES,
         "6:8: shape: found 'h', expected 'g', whose shape that one has"),
        (HEAD + "regions: []\n" + EXAMPLES,
         "6:10: regions: found an empty list, expected at least one entry"),
        (HEAD + REGIONS, "1:1: examples: is missing, expected a list of at least one example"),
        (HEAD + REGIONS + "examples: []",
         "8:11: examples: found an empty list, expected at least one entry"),
        (HEAD + REGIONS + "examples:\n  - {name: a, text: b}",
         "9:5: examples.0.visible: is missing, expected what is left of it for the reader"),
        (HEAD + REGIONS + EXAMPLES + "discards: [x]",
         "10:1: discards: unknown key, expected 'id', 'models', 'sources', 'groups', 'why', "
         "'shape', 'regions', 'discard', 'tail', 'opened_by_prompt' or 'examples'; did you mean "
         "'discard'?"),
        (HEAD + REGIONS + EXAMPLES + "discard: ['']",
         "10:11: discard.0: found '', expected a marker of 1 to 64 characters"),
        (region(f"channel: reasoning, open: ['{'x' * 65}']"),
         f"7:33: regions.0.open.0: found '{'x' * 59}…, expected a marker of 1 to 64 characters"),
        (region("channel: reasoning, open: ['<{nme}>']"),
         "7:33: regions.0.open.0: found '<{nme}>', expected no placeholder but '{name}', "
         "'{number}' or '{space}'"),
        (HEAD + REGIONS + EXAMPLES + "tail: x", "10:7: tail: found 'x', expected a list"),
        (HEAD + REGIONS + EXAMPLES + "tail: ['']",
         "10:8: tail.0: found '', expected a marker of 1 to 64 characters"),
        (HEAD + REGIONS + EXAMPLES + "opened_by_prompt: ['*DeepSeek*']",
         f"10:20: opened_by_prompt.0: found '*DeepSeek*', {GLOB}"),
        (HEAD + REGIONS + EXAMPLES + "opened_by_prompt: ['r[12]']",
         f"10:20: opened_by_prompt.0: found 'r[12]', {GLOB}"),
        (HEAD + REGIONS + EXAMPLES + "opened_by_prompt: ['']",
         f"10:20: opened_by_prompt.0: found '', {GLOB}"),
        (region("open: [x]"),
         "7:5: regions.0.channel: is missing, expected what the text in the region is"),
        (region("channel: resoning, open: [x]"),
         f"7:15: regions.0.channel: found 'resoning', expected {FROM_LIST}; "
         "did you mean 'reasoning'?"),
        (region("channel: separator, open: [x]"),
         f"7:15: regions.0.channel: found 'separator', expected {FROM_LIST}"),
        (region("channel: reasoning, open: [x], at: top"),
         "7:41: regions.0.at: found 'top', expected 'anywhere', 'line', 'start' or "
         "'after'"),
        (region("channel: reasoning, open: [x], body: jso"),
         "7:43: regions.0.body: found 'jso', expected 'text', 'json', 'value' or "
         "'python'; did you mean 'json'?"),
        (region("channel: reasoning, open: [x], interrupts: [content]"),
         "7:50: regions.0.interrupts.0: found 'content', expected 'reasoning', 'tool_call', "
         "'tool_result', 'self' or the id of a format"),
        (region("channel: reasoning, open: [x], stray_close: keep"),
         "7:50: regions.0.stray_close: found 'keep', expected 'drop' or 'text'"),
        (region("channel: reasoning, open: [x], implicit: sure"),
         "7:47: regions.0.implicit: found 'sure', expected true or false"),
        (region("channel: reasoning, open: [x], escaped: html"),
         "7:46: regions.0.escaped: found 'html', expected true or false"),
        (region("channel: reasoning, open: [x], proof: ['']"),
         "7:45: regions.0.proof.0: found '', expected a marker of 1 to 64 characters"),
        (HEAD + REGIONS + "  - {channel: markup, name: m, close: [y], implicit: true}\n"
         "  - {channel: markup, name: n, open: [z], close: [y], then: m}\n" + EXAMPLES,
         "8:5: regions.1: found 'implicit' without 'open', expected the marker that is implied"),
        (region("channel: reasoning, open: [x], last: true"),
         "7:5: regions.0: found 'last' in reasoning, expected it only in content"),
        (region("channel: content, open: [x], close: [y], last: true"),
         "7:5: regions.0: found 'last' with 'close', expected none: no marker follows it"),
        (HEAD + REGIONS + "  - {channel: tool_call, open: [x], inside: reasoning}\n" + EXAMPLES,
         "8:5: regions.1: found 'inside' without 'close', expected the markers that lead back out"),
        (HEAD + REGIONS + "  - {channel: tool_call, open: [x], close: [y], inside: reasoning, "
         "then: reasoning}\n" + EXAMPLES,
         "8:5: regions.1: found 'inside' with 'then', expected only one: a close marker leads to "
         "one region"),
        (HEAD + REGIONS + "  - {channel: tool_call, open: [x], close: [y], inside: resoning}\n"
         + EXAMPLES,
         "8:57: regions.1.inside: found 'resoning', expected 'reasoning' or 'tool_call'; did you "
         "mean 'reasoning'?"),
        (region("channel: reasoning, open: [x], close: [y], inside: reasoning"),
         "7:57: regions.0.inside: found 'reasoning', the region itself, expected the one around "
         "it"),
        (HEAD + REGIONS.replace("}", ", body: json}")
         + "  - {channel: tool_call, open: [x], close: [y], inside: reasoning}\n" + EXAMPLES,
         "8:57: regions.1.inside: found 'reasoning', expected a region whose body is text"),
        (region("channel: reasoning, open: [x], then: "),
         f"7:37: regions.0.then: found nothing, {OPEN}"),
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
        (call("tool_name: {json: a, after: b, until: [c]}"),
         "7:48: regions.0.tool_name: found 'json' and 'after', expected only one of them"),
        (call("tool_name: {json: a, python: true}"),
         "7:48: regions.0.tool_name: found 'python' and 'json', expected only one of them"),
        (call("tool_name: {until: [c]}"), f"7:48: regions.0.tool_name: {NO_WAY}"),
        (call("tool_name: {python: false}"), f"7:48: regions.0.tool_name: {NO_WAY}"),
        (call("tool_name: {after: b}"),
         "7:48: regions.0.tool_name: found 'after' without 'until', expected the literals that "
         "end a name"),
        (call("tool_name: {json: a, strip: [b]}"),
         "7:48: regions.0.tool_name: found 'strip' without 'after', expected it only beside "
         "'after'"),
        (call("tool_name: {python: true, once: true}"),
         "7:48: regions.0.tool_name: found 'once' without 'after', expected it only beside "
         "'after'"),
        (call("tool_name: {json: }"), f"7:49: regions.0.tool_name.json: found nothing, {OPEN}"),
        (call("tool_name: "), f"7:37: regions.0.tool_name: found nothing, {OPEN}"),
        (call("arguments: {as: json}"),
         "7:5: regions.0: found 'arguments' without 'tool_name', expected both"),
        (call("tool_name: {json: a}, arguments: {}"),
         "7:70: regions.0.arguments.as: is missing, expected how they are written: 'member', "
         "'json', 'named' or 'python'"),
        (call("tool_name: {json: a}, arguments: {as: name}"),
         "7:75: regions.0.arguments.as: found 'name', expected 'member', 'json', 'named' or "
         "'python'; did you mean 'named'?"),
        (call("tool_name: {json: a}, arguments: {as: json, keys: [k]}"),
         "7:70: regions.0.arguments: found 'keys' with 'as: json', expected 'as: member'"),
        (call("tool_name: {json: a}, arguments: {as: json, value: [k, v]}"),
         "7:70: regions.0.arguments: found 'value' with 'as: json', expected 'as: named'"),
        (call("tool_name: {json: a}, arguments: {as: named, key: [k, v]}"),
         "7:70: regions.0.arguments: found 'as: named' without 'value', expected the two literals "
         "around each value"),
        (call("tool_name: {json: a}, arguments: {as: named, key: [k], value: [k, v]}"),
         "7:87: regions.0.arguments.key: found a list of 1, expected a list of two literals, the "
         "one before and the one after"),
        (call("tool_name: {json: a}, arguments: {as: named, key: k, value: [k, v]}"),
         "7:87: regions.0.arguments.key: found 'k', expected a list of two literals, the one "
         "before and the one after"),
        (call("tool_name: {json: a}, arguments: {as: named, key: [k, ''], value: [k, v]}"),
         "7:91: regions.0.arguments.key.1: found '', expected a marker of 1 to 64 characters"),
        (region("channel: tool_call, open: [x], tool_name: {jsn: a, after: b, until: [c]}"),
         "7:49: regions.0.tool_name.jsn: unknown key, expected 'python', 'json', 'after', 'until', "
         "'strip', 'until_last' or 'once'; did you mean 'json'?"),
        (region("channel: tool_call, open: [x], tool_name: {after: b, until: ['']}"),
         "7:67: regions.0.tool_name.until.0: found '', expected a marker of 1 to 64 characters"),
        (HEAD + REGIONS + "  - nothing\n" + EXAMPLES,
         "8:5: regions.1: found 'nothing', expected a mapping of keys to values"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    """A mistake says where it is, what was found and what is right."""
    (tmp_path / "g.yaml").write_text(HEAD.replace("id: f", "id: g") + REGIONS + EXAMPLES)
    (tmp_path / "h.yaml").write_text(HEAD.replace("id: f", "id: h") + "shape: g\n" + EXAMPLES)
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


def test_the_mistakes_of_a_shape_are_told_once(tmp_path: Path) -> None:
    """A wrong file whose shape others have is not wrong once for each of them."""
    (tmp_path / "f.yaml").write_text(HEAD + "regions: []\n" + EXAMPLES)
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"id: {name}\n{HEAD[6:]}shape: f\n{EXAMPLES}")
    with pytest.raises(ConfigError) as error:
        load_catalogue(tmp_path)
    assert [Path(mistake.file).name for mistake in error.value.mistakes] == ["f.yaml"]


def test_own_formats_join_those_that_ship_and_replace_one_of_the_same_id(tmp_path: Path) -> None:
    """An own format is in its groups, and may name formats that ship with the package."""
    mine = HEAD.replace("id: f", "id: mine") + REGIONS.replace("}", ", interrupts: [react]}")
    (tmp_path / "mine.yaml").write_text(mine + EXAMPLES)
    (tmp_path / "think.yaml").write_text(HEAD.replace("id: f", "id: think") + REGIONS + EXAMPLES)
    (tmp_path / "like.yaml").write_text(
        HEAD.replace("id: f", "id: like") + "shape: react\n" + EXAMPLES
    )
    catalogue = shipped_catalogue(tmp_path)
    assert catalogue.names() == tuple(
        dict.fromkeys((*shipped_catalogue().formats, "like", "mine", *GROUPS))
    )
    assert catalogue.formats["think"].models == ("M",)
    assert catalogue.formats["like"].regions == catalogue.formats["react"].regions
    assert catalogue.formats["mine"] in catalogue.resolve(["reasoning"])


def test_the_names_for_rules_are_known_without_reading_a_file() -> None:
    """They are those of the catalogue that is read."""
    assert set(shipped_names()) == set(shipped_catalogue().names())


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


def test_serving_reads_all_but_the_examples_of_what_ships() -> None:
    """They come last in each file, so nothing after them is left out with them."""
    served, whole = shipped_catalogue().formats, load_catalogue(shipped_folder()).formats
    assert served == {id_: replace(format_, examples=()) for id_, format_ in whole.items()}


FAMILIES, EXAMPLES_EACH = 80, 7
"""At least so many: what the project promises to know, and to try."""


def test_the_catalogue_is_as_large_as_it_promises() -> None:
    """Enough families, and enough examples of each."""
    formats = load_catalogue(shipped_folder()).formats
    few = {id_: len(f.examples) for id_, f in formats.items() if len(f.examples) < EXAMPLES_EACH}
    assert len(formats) >= FAMILIES
    assert few == {}
