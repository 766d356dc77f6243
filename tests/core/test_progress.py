"""The phases of an answer: what is a change, and what is none."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from sidecar.core.callarguments import MAX_READ, CallArguments
from sidecar.core.progress import MAX_RESULT, Phase, Progress, Step
from sidecar.core.sources import MAX_SOURCES, MAX_URL, Source, sources_in, sources_in_text
from sidecar.core.stats import Stats
from tests.cuts import every_way


def progress(*, sources: bool = False, wanted: Iterable[str] = ()) -> Progress:
    names = tuple(wanted)
    return Progress(Stats(), lambda _: names, sources=sources)


def phases(steps: Iterable[Step]) -> list[Phase]:
    return [step.phase for step in steps]


def test_a_phase_is_told_once_however_long_it_goes_on() -> None:
    seen = progress()
    for _ in range(100):
        seen.think("hm")
    for _ in range(100):
        seen.answer("a")
    assert phases(seen.take()) == [Phase.THINKING, Phase.ANSWERING]
    assert seen.take() == []


@pytest.mark.parametrize("blank", ["", " ", "\n\n", "\t"])
def test_a_block_in_which_nothing_stands_is_no_phase_and_stops_no_clock(blank: str) -> None:
    stats = Stats()
    seen = Progress(stats)
    seen.think(blank)
    seen.answer(blank)
    seen.result(blank)
    seen.end_result()
    assert seen.take() == []
    assert seen.phase is Phase.WAITING
    assert stats.firsts == 0


def test_a_phase_that_comes_again_is_told_again() -> None:
    seen = progress()
    for _ in range(2):
        seen.think("hm")
        seen.answer("a")
    assert phases(seen.take()) == [Phase.THINKING, Phase.ANSWERING] * 2


def test_nothing_is_told_after_the_end() -> None:
    seen = progress(sources=True)
    seen.answer("a")
    seen.finish()
    seen.think("hm")
    seen.call(object(), "x")
    seen.cite("https://e.example/")
    seen.finish()
    assert phases(seen.take()) == [Phase.ANSWERING, Phase.DONE]


def test_a_call_is_told_when_its_tool_is_known() -> None:
    seen = progress()
    key = object()
    seen.call(key, None)
    assert seen.take() == []
    seen.call(key, "search", '{"q": 1}')
    seen.call(key, "search", "")
    seen.call(key, None, "more")
    assert seen.take() == [Step(Phase.CALLING_TOOL, "search")]


def test_another_call_of_the_same_tool_is_no_change_and_of_another_one_is() -> None:
    seen = progress()
    for name in ("a", "a", "b"):
        seen.call(object(), name)
    assert [step.tool for step in seen.take()] == ["a", "b"]


def test_a_call_without_a_name_is_told_unless_it_is_more_of_the_one_before() -> None:
    seen = progress()
    seen.call(object(), "")
    seen.call(object(), "a")
    seen.call(object(), "")
    assert [step.tool for step in seen.take()] == [None, "a"]


def test_the_arguments_that_a_text_names_are_told_as_they_become_complete() -> None:
    key, seen = object(), progress(wanted=["q", "n"])
    for piece in ("", '{"x": "secret", "q": "ti', 'des", "n": 1', "2", ", "):
        seen.call(key, "search", piece)
    assert [dict(step.arguments) for step in seen.take()] == [{}, {"q": "tides"}]
    seen.call(key, None, '"z": 3}')
    assert [dict(step.arguments) for step in seen.take()] == [{"q": "tides", "n": "12"}]


def test_what_is_muted_has_its_phase_and_tells_nobody() -> None:
    stats = Stats()
    seen = Progress(stats, muted=True)
    seen.think("hm")
    assert seen.phase is Phase.THINKING
    assert seen.take() == []
    assert stats.reasoning_seen


def test_the_sources_of_a_result_are_told_when_it_is_complete() -> None:
    seen = progress(sources=True)
    for piece in ("See https://a.exa", "mple/x, and https://b.example/."):
        seen.result(piece)
    assert phases(seen.take()) == [Phase.READING_RESULT]
    seen.answer("a")
    told = seen.take()
    assert phases(told) == [Phase.SOURCES, Phase.SOURCES, Phase.ANSWERING]
    assert [step.source for step in told[:2]] == [
        Source("", "https://a.example/x"),
        Source("", "https://b.example/"),
    ]


def test_each_source_is_told_once_and_so_many_of_them() -> None:
    seen = progress(sources=True)
    seen.cite([f"https://e.example/{n % (2 * MAX_SOURCES)}" for n in range(1000)])
    assert len(seen.take()) == MAX_SOURCES
    other = progress(sources=True)
    other.cite(["https://e.example/"] * 3)
    assert len(other.take()) == 1


def test_of_a_long_result_the_beginning_is_searched() -> None:
    seen = progress(sources=True)
    for _ in range(4):
        seen.result("x" * (MAX_RESULT // 2))
    seen.result(" https://e.example/")
    seen.end_result()
    assert phases(seen.take()) == [Phase.READING_RESULT]


def test_where_nobody_wants_sources_none_are_looked_for() -> None:
    seen = progress()
    seen.cite("https://e.example/")
    seen.result("https://e.example/")
    seen.end_result()
    assert phases(seen.take()) == [Phase.READING_RESULT]


# --- arguments ----------------------------------------------------------------------------------

ARGUMENTS = {
    "q": 'a "quoted"\\ é🐕',
    "n": -12.5,
    "b": True,
    "l": ["a", 1],
    "o": {"q": "inner"},
    "e": [],
    "z": None,
}


def test_arguments_are_the_same_in_every_cut_and_never_a_part() -> None:
    text = json.dumps(ARGUMENTS, ensure_ascii=False)
    whole = {"q": 'a "quoted"\\ é🐕', "n": "-12.5", "b": "true", "l": "a, 1"}
    for pieces in every_way(text):
        read = CallArguments(tuple(ARGUMENTS))
        for piece in pieces:
            read.add(piece)
            assert read.found.items() <= whole.items()
        assert read.found == whole


def test_arguments_may_come_as_an_object() -> None:
    read = CallArguments(["q", "n", "missing"])
    assert read.add(ARGUMENTS)
    assert read.found == {"q": 'a "quoted"\\ é🐕', "n": "-12.5"}
    assert not read.add(ARGUMENTS)


@pytest.mark.parametrize("text", ["[1]", '"x"', "{q: 1}", "not json", '{"q": }', "{}{}"])
def test_what_is_no_object_has_no_arguments(text: str) -> None:
    for pieces in every_way(text):
        read = CallArguments(["q"])
        assert not any(list(map(read.add, pieces)))


def test_of_long_arguments_the_beginning_is_read() -> None:
    read = CallArguments(["late", "q"])
    read.add('{"q": "a", "long": "')
    for _ in range(MAX_READ):
        read.add("x")
    assert not read.add('", "late": "b"}')
    assert read.found == {"q": "a"}


# --- sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"url": "https://a.example/", "title": "A"}, [("A", "https://a.example/")]),
        ({"results": [{"link": "http://a.example", "name": "A"}]}, [("A", "http://a.example")]),
        (["https://a.example/?q=1#x"], [("", "https://a.example/?q=1#x")]),
        ({"url_citation": {"url": "https://a.example/"}}, [("", "https://a.example/")]),
        ({"url": "https://a.example/", "title": 5}, [("", "https://a.example/")]),
        ({"text": "see https://a.example/"}, []),
        ({"url": "javascript:alert(1)"}, []),
        ({"url": "https://a.example/ b"}, []),
        ({"url": "https://" + "a" * MAX_URL}, []),
        ({"url": None, "x": 1}, []),
        (5, []),
    ],
)
def test_the_sources_in_a_value(value: object, found: list[tuple[str, str]]) -> None:
    assert sources_in(value) == [Source(*each) for each in found]
    if isinstance(value, dict | list):
        assert sources_in_text(json.dumps(value)) == sources_in(value)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("(see https://a.example/x).", ["https://a.example/x"]),
        ("[a](https://a.example/x) <https://b.example>", ["https://a.example/x", "https://b.example"]),
        ("HTTP://A.example/, and http://b.example?", ["HTTP://A.example/", "http://b.example"]),
        ("{not json https://a.example/", ["https://a.example/"]),
        ("ftp://a.example data:x", []),
        ("https://", []),
    ],
)  # fmt: skip
def test_the_urls_in_a_text(text: str, urls: list[str]) -> None:
    assert [source.url for source in sources_in_text(text)] == urls


def test_a_deep_value_is_searched_so_deep() -> None:
    value: object = "https://a.example/"
    for _ in range(500):
        value = [value]
    assert sources_in(value) == []
