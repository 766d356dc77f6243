"""Whether a rule is about a request."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.rules.match import Match, RequestFacts, Tools, matches

REQUEST = RequestFacts(
    model="gpt-5-mini",
    path="/v1/chat/completions",
    headers={"x-client": ["cron", "agent-7"], "accept": ["*/*"]},
    tools_declared=True,
)


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        (Match(), True),
        (Match(model=("gpt-*",)), True),
        (Match(model=("qwen*", "gpt-?-mini")), True),
        (Match(model=("qwen*",)), False),
        (Match(model=("GPT-*",)), False),
        (Match(model=("gpt-5",)), False),
        (Match(path="/v1/*"), True),
        (Match(path="/V1/*"), False),
        (Match(path="/v1/chat"), False),
        (Match(headers=(("x-client", "agent*"),)), True),
        (Match(headers=(("x-client", "human*"),)), False),
        (Match(headers=(("x-other", "*"),)), False),
        (Match(headers=(("x-client", "agent*"), ("accept", "json"))), False),
        (Match(tools=Tools.DECLARED), True),
        (Match(tools=Tools.ABSENT), False),
        (Match(("gpt-*",), "/v1/*", (("x-client", "cron"),), Tools.DECLARED), True),
        (Match(("gpt-*",), "/v1/*", (("x-client", "cron"),), Tools.ABSENT), False),
    ],
)
def test_all_that_is_given_must_hold(match: Match, holds: bool) -> None:
    """A rule is about a request if everything it asks holds, and any value of a header will do."""
    assert matches(match, REQUEST) is holds


def test_no_tools_is_absent() -> None:
    """A request that declares no tools is one that ``absent`` asks for."""
    plain = RequestFacts("m", "/v1/chat/completions", {}, tools_declared=False)
    assert matches(Match(tools=Tools.ABSENT), plain)
    assert not matches(Match(tools=Tools.DECLARED), plain)


def naive(glob: str, text: str) -> bool:
    if not glob:
        return not text
    if glob[0] == "*":
        return naive(glob[1:], text) or (bool(text) and naive(glob, text[1:]))
    return bool(text) and glob[0] in ("?", text[0]) and naive(glob[1:], text[1:])


@given(st.text("ab*?].\n", max_size=6), st.text("ab*?].\n", max_size=6))
def test_globs_mean_what_they_say(glob: str, text: str) -> None:
    """A star is any text, a question mark any character, all else itself."""
    request = RequestFacts(text, "/", {}, tools_declared=False)
    assert matches(Match(model=(glob,)), request) is naive(glob, text)


@pytest.mark.parametrize("glob", ["*a*a*a*b", "*a" * 30 + "b", "*?a*?a*?a*b", "a*" * 30 + "?b"])
def test_a_hostile_name_is_judged_in_no_time(glob: str) -> None:
    """Ten thousand characters that almost match cost milliseconds, not hours."""
    request = RequestFacts("a" * 10_000, "/", {}, tools_declared=False)
    start = time.perf_counter()
    assert not matches(Match(model=(glob,)), request)
    assert time.perf_counter() - start < 0.5
