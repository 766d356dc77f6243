"""Ollama's own API: a line for each token, whole calls, and a last line that counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.document import filter_document
from sidecar.core.policy import (
    OnEmpty,
    Policy,
    Reasoning,
    ToolCalls,
    ToolResults,
    UnknownFields,
)
from sidecar.core.stats import Stats
from sidecar.core.stream import Fault, StreamFilter
from sidecar.wire.fields import Record
from sidecar.wire.ollama import OllamaChat, OllamaGenerate
from tests.cuts import every_way

from .streams import ruling

SECRET = "s3cr3t"
LINE: Record = {"model": "m", "created_at": "2026-01-01T00:00:00.1Z"}
COUNTS: Record = {"total_duration": 5, "prompt_eval_count": 2, "eval_count": 3}
CALL: Record = {"function": {"name": "find", "arguments": {"q": SECRET}}}
IN_TEXT = '<tool_call>\n{"name": "find", "arguments": {"q": "' + SECRET + '"}}\n</tool_call>'
DROP = Policy()
KEEP = Policy(Reasoning.KEEP, ToolCalls.KEEP, ToolResults.KEEP)
MOVE = Policy(Reasoning.MOVE, ToolCalls.MOVE)


def said(content: str = "", role: str = "assistant", **more: Any) -> Record:
    """A line of a chat."""
    return LINE | {"message": {"role": role, "content": content} | more, "done": False}


def done(content: str = "", reason: str = "stop", **more: Any) -> Record:
    """The last line of a chat."""
    ended = {"done": True, "done_reason": reason} | COUNTS
    return said(content) | ended | more


def generated(response: str = "", **more: Any) -> Record:
    """A line of a completion."""
    return LINE | {"response": response, "done": False} | more


def stream(*lines: Record) -> bytes:
    """Lines as Ollama writes them."""
    return b"".join(json.dumps(x, separators=(",", ":")).encode() + b"\n" for x in lines)


def judged(
    *lines: Record, policy: Policy = DROP, declared: tuple[str, ...] = ()
) -> tuple[list[Any], Stats]:
    """What leaves of a stream, in every cut the same, and what was counted."""
    raw = stream(*lines)
    kind = OllamaGenerate if any("response" in record for record in lines) else OllamaChat
    outs = []
    for pieces in every_way(raw):
        wire = kind(ruling(policy, declared))
        transducer = StreamFilter(wire, limit=100_000)
        outs.append(b"".join([*map(transducer.feed, pieces), transducer.finish()]))
    assert outs == outs[:1] * len(outs)
    left = [json.loads(part) for part in outs[0].splitlines()]
    if not any("error" in record for record in left):
        assert [record["done"] for record in left] == [False] * (len(left) - 1) + [True]
    return left, wire.stats


def message(lines: list[Any]) -> Record:
    """What a client makes of a stream."""
    found: Record = {}
    for record in lines:
        for key, value in (record.get("message") or record).items():
            if key in ("content", "response", "thinking", "tool_calls") and value:
                found[key] = found[key] + value if key in found else value
    return found


def whole(record: Record, policy: Policy = DROP, declared: tuple[str, ...] = ()) -> Any:
    """What is left of a document."""
    kind = OllamaGenerate if "response" in record else OllamaChat
    return json.loads(filter_document(json.dumps(record).encode(), kind(ruling(policy, declared))))


def test_what_hides_nothing_leaves_to_the_byte() -> None:
    """Whatever Ollama may say of itself, and white space at the ends of lines too."""
    lines = [
        said("Hel", thinking="hm") | {"logprobs": []},
        said("lo", images=["aGk="], tool_calls=[CALL]),
        said("", images=[]) | {"remote_model": "big", "remote_host": "https://ollama.com:443"},
        LINE | {"done": False},
        LINE | {"message": None},
        said("!") | {"logprobs": [{"token": "!", "logprob": -1.5, "bytes": [33]}]},
        done(load_duration=1, eval_duration=2, prompt_eval_duration=3),
    ]
    raw = stream(*lines).replace(b"\n", b"\r\n")
    transducer = StreamFilter(OllamaChat(ruling(KEEP)), limit=100_000)
    assert transducer.feed(raw) + transducer.finish() == raw


def test_reasoning_of_its_own_is_dropped_kept_or_stays() -> None:
    """A line that said nothing else is not there."""
    lines = [said(thinking=SECRET), said(thinking=SECRET), said("Hi"), done()]
    left, stats = judged(*lines)
    assert left == lines[2:]
    assert sum(stats.hidden_characters.values()) == 2 * len(SECRET)
    for policy in (KEEP, MOVE):
        assert judged(*lines, policy=policy)[0] == lines


@pytest.mark.parametrize("policy", [DROP, KEEP, MOVE], ids=["drop", "keep", "move"])
def test_reasoning_in_the_text(policy: Policy) -> None:
    """It goes, stays, or becomes ``thinking``, which is what it is called here."""
    left, _ = judged(
        said("<thi"), said(f"nk>{SECRET}</think>\n\nHi"), said(" you"), done(), policy=policy
    )
    expected: dict[Policy, Record] = {
        DROP: {"content": "Hi you"},
        KEEP: {"content": f"<think>{SECRET}</think>\n\nHi you"},
        MOVE: {"content": "Hi you", "thinking": SECRET},
    }
    assert message(left) == expected[policy]


@pytest.mark.parametrize("wish", list(ToolCalls))
def test_calls(wish: ToolCalls) -> None:
    """In fields and in the text; those that stay are whole, their arguments parsed."""
    lines = [said("Look: "), said(tool_calls=[CALL]), said(IN_TEXT), done()]
    declared = ("find",) if wish is ToolCalls.DECLARED else ()
    left, stats = judged(*lines, policy=Policy(tool_calls=wish), declared=declared)
    made = message(left)
    calls = [call["function"] for call in made.get("tool_calls", [])]
    count = {ToolCalls.DROP: 0, ToolCalls.MOVE: 2}.get(wish, 1)
    assert calls == [CALL["function"]] * count
    assert (SECRET in made["content"]) is (wish in (ToolCalls.KEEP, ToolCalls.DECLARED))
    assert left[-1]["done_reason"] == "stop"
    if wish is ToolCalls.DROP:
        assert SECRET not in json.dumps(left)
        assert stats.hidden_characters


def test_only_declared_calls_stay() -> None:
    """By their names."""
    other = {"function": {"name": "other", "arguments": {"q": SECRET}}}
    lines = [said(tool_calls=[CALL, other]), done()]
    left, _ = judged(*lines, policy=Policy(tool_calls=ToolCalls.DECLARED), declared=("find",))
    assert message(left)["tool_calls"] == [CALL]


def test_calls_that_stay_are_as_they_came() -> None:
    """Though their arguments be a text, which is what another API has."""
    calls = [{"function": {"name": name, "arguments": '{"q":1}'}} for name in ("find", "get")]
    lines = [said(tool_calls=calls), done()]
    for policy in (KEEP, MOVE):
        assert judged(*lines, policy=policy)[0] == lines


def test_moved_calls_are_collected_up_to_a_bound() -> None:
    """Beyond it the answer ends with an error, and without any of them."""
    body = "x" * 500_000
    calls = [said(IN_TEXT.replace(SECRET, body))] * 17
    transducer = StreamFilter(OllamaChat(ruling(MOVE)), limit=10_000_000)
    out = transducer.feed(stream(said("Hi"), *calls, done())) + transducer.finish()
    left = [json.loads(part) for part in out.splitlines()]
    assert left[0] == said("Hi")
    assert len(left) == 2
    assert "over the configured limit" in left[1]["error"]


def test_a_moved_call_that_broke_off_is_not_there() -> None:
    """It has no arguments that could be parsed."""
    half = IN_TEXT[: IN_TEXT.index(SECRET) + 3]
    left, _ = judged(said("A"), said(half), done(reason="length"), policy=MOVE)
    assert message(left) == {"content": "A"}


def test_a_moved_call_that_is_none_ends_the_answer_with_an_error() -> None:
    """In Ollama's own words, and nothing says that it is done."""
    left, stats = judged(said("A"), said("<tool_call>{broken</tool_call>"), done(), policy=MOVE)
    assert "cannot be read" in left[-1]["error"]
    assert stats.error == "malformed_tool_call"


def test_held_text_is_out_before_the_end() -> None:
    """In a line of its own, which names the model."""
    left, _ = judged(said("a <thi"), done())
    assert message(left) == {"content": "a <thi"}
    assert left[-1] == done()
    assert left[-2] == said("<thi")


def test_what_the_last_line_says_is_text_too() -> None:
    """Clients add it."""
    assert message(judged(said("<think>x</think>"), done("Hi"))[0]) == {"content": "Hi"}


def test_repetitions_go_with_what_is_hidden() -> None:
    """The tokens of the conversation, and the log-probabilities."""
    tokens = [{"token": SECRET, "logprob": -1.0, "bytes": list(SECRET.encode())}]
    lines = [
        generated(f"<think>{SECRET}</think>", logprobs=tokens),
        generated("Hi", logprobs=[{"token": "Hi", "logprob": -1.0, "bytes": [72, 105]}]),
        generated(done=True, done_reason="stop", context=[1, 2, 3]),
    ]
    left, _ = judged(*lines)
    assert left == [lines[1], generated(done=True, done_reason="stop")]
    assert judged(*lines[1:])[0] == lines[1:]
    odd = lines[1] | {"odd": SECRET}
    assert judged(odd, lines[2])[0] == left


@pytest.mark.parametrize("policy", [DROP, KEEP, MOVE], ids=["drop", "keep", "move"])
def test_a_completion_is_judged_as_a_chat_is(policy: Policy) -> None:
    """With the same outcome, where the text is called ``response``."""
    left, _ = judged(
        generated(thinking=SECRET),
        generated(f"<think>{SECRET}</think>Hi"),
        generated(done=True, done_reason="stop"),
        policy=policy,
    )
    chat, _ = judged(
        said(thinking=SECRET), said(f"<think>{SECRET}</think>Hi"), done(), policy=policy
    )
    expected = message(chat)
    expected["response"] = expected.pop("content")
    assert message(left) == expected


def test_nobody_waits_for_a_call_of_a_completion() -> None:
    """Its request declares no tool, whatever the rule says."""
    lines = [generated(f"Hi{IN_TEXT}"), generated(done=True, done_reason="stop")]
    for wish in (ToolCalls.MOVE, ToolCalls.DECLARED):
        left, _ = judged(*lines, policy=Policy(tool_calls=wish), declared=("find",))
        assert message(left) == {"response": "Hi"}


TEXTS = ["Hi", f"<think>{SECRET}</think>Hi", f"Hi{IN_TEXT}", "Hi <thi", f"<think>{SECRET}"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("policy", [DROP, KEEP, MOVE], ids=["drop", "keep", "move"])
def test_a_document_gives_the_same_answer(policy: Policy, text: str) -> None:
    """As the stream of it does."""
    record = done(text) | {"message": {"role": "assistant", "content": text, "thinking": SECRET}}
    streamed, _ = judged(said(thinking=SECRET), said(text), done(), policy=policy)
    document = whole(record, policy)
    assert message([document]) == message(streamed)
    assert {key: document[key] for key in COUNTS} == COUNTS
    completed = whole(generated(text, done=True, thinking=SECRET), policy)
    if policy is not MOVE:
        assert completed["response"] == message(streamed).get("content", "")


def test_a_death_ends_with_an_error() -> None:
    """After the text that is certain, and never with a last line."""
    left, stats = judged(said("Hi"), said(" <thi"))
    assert message(left) == {"content": "Hi <thi"}
    assert left[-1] == {
        "error": "The upstream server ended the stream before the answer was complete."
    }
    assert stats.error == "upstream_incomplete"


def test_a_line_that_broke_off_is_not_what_ended_the_answer() -> None:
    """It is not there, and the client is told why upstream is gone."""
    raw = stream(said("Hi"))
    for pieces in every_way(raw + stream(said(SECRET))[:-9]):
        transducer = StreamFilter(OllamaChat(ruling(DROP)), limit=1000, passes_unreadable=True)
        out = b"".join([*map(transducer.feed, pieces), transducer.finish(Fault("late", "Late."))])
        assert out == raw + b'{"error":"Late."}\n'


@pytest.mark.parametrize("error", [f"no: <think>{SECRET}</think>", {"message": "no", "x": SECRET}])
def test_an_error_of_upstream_is_the_last_line(error: Any) -> None:
    """Put through the rule."""
    left, _ = judged(said("Hi"), {"error": error}, said("more"), done())
    assert left[0] == said("Hi")
    assert len(left) == 2
    assert left[1]["error"].startswith("no")
    assert SECRET not in json.dumps(left)


def test_nothing_follows_the_last_line() -> None:
    """Whatever upstream may still send."""
    assert judged(said("Hi"), done(), said(SECRET), done())[0] == [said("Hi"), done()]


@pytest.mark.parametrize("wish", list(OnEmpty))
def test_an_empty_answer(wish: OnEmpty) -> None:
    """Is what the rule says, streamed and not."""
    policy = Policy(on_empty=wish, empty_text="Sorry.")
    left, stats = judged(said(thinking="a thought"), done(), policy=policy)
    document = whole(
        done() | {"message": {"role": "assistant", "content": "", "thinking": "a thought"}}, policy
    )
    text = {OnEmpty.TEXT: "Sorry.", OnEmpty.PROMOTE: "a thought"}.get(wish, "")
    assert stats.empty_answers[wish] == 1
    if wish is OnEmpty.ERROR:
        assert left == [document]
        assert "without any text" in document["error"]
    else:
        assert message(left).get("content", "") == text == document["message"]["content"]


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_loading_a_model_is_no_empty_answer(reason: str) -> None:
    """Nothing was asked."""
    for wish in (OnEmpty.TEXT, OnEmpty.ERROR):
        policy = Policy(on_empty=wish, empty_text="Sorry.")
        assert judged(done("", reason), policy=policy)[0] == [done("", reason)]
        assert whole(done("", reason), policy) == done("", reason)


def test_an_answer_without_a_message() -> None:
    """Gets one where there is something to say."""
    policy = Policy(on_empty=OnEmpty.TEXT, empty_text="Sorry.")
    assert whole(LINE | {"done": True}) == LINE | {"done": True}
    assert whole(LINE | {"done": True}, policy)["message"] == said("Sorry.")["message"]


def test_a_picture_is_an_answer() -> None:
    """Although it has no text."""
    policy = Policy(on_empty=OnEmpty.ERROR)
    chat = [said(images=["aGk="]), done()]
    completion = [generated(image="aGk="), generated(done=True, done_reason="stop")]
    assert judged(*chat, policy=policy)[0] == chat
    assert judged(*completion, policy=policy)[0] == completion


def test_results_are_hidden() -> None:
    """A message of another role is nobody's answer, and its pictures are not either."""
    result = said(SECRET, role="tool", images=[SECRET], tool_name=SECRET, tool_call_id=SECRET)
    left, _ = judged(result, said("Hi"), done())
    assert message(left) == {"content": "Hi"}
    assert SECRET not in json.dumps(left)
    ended = result | {"done": True}
    assert SECRET not in json.dumps(judged(said("Hi"), ended)[0])
    assert SECRET not in json.dumps(whole(ended))
    kept = Policy(tool_results=ToolResults.KEEP)
    assert judged(result, said("Hi"), done(), policy=kept)[0] == [result, said("Hi"), done()]


@pytest.mark.parametrize("where", ["line", "message"])
def test_unknown_keys_are_dropped(where: str) -> None:
    """And counted, unless the rule lets them pass."""
    odd = said("Hi", odd=SECRET) if where == "message" else said("Hi") | {"odd": SECRET}
    left, stats = judged(odd, done())
    assert left[0] == said("Hi")
    assert stats.unknown_fields == 1
    passed = Policy(unknown_fields=UnknownFields.PASS)
    assert judged(odd, done(), policy=passed)[0] == [odd, done()]


def test_hidden_text_in_another_place_is_no_unknown_key() -> None:
    """It is dropped though the rule lets those pass."""
    passed = Policy(unknown_fields=UnknownFields.PASS)
    chat = said("Hi", reasoning_content=SECRET) | {"thinking": SECRET, "tool_calls": [CALL]}
    assert judged(chat, done(), policy=passed)[0] == [said("Hi"), done()]
    completion = generated("Hi", reasoning=SECRET, message={"thinking": SECRET})
    last = generated(done=True, done_reason="stop")
    assert judged(completion, last, policy=passed)[0] == [generated("Hi"), last]


@pytest.mark.parametrize("reason", ["stop", "length", "load", "unload", SECRET])
def test_why_it_is_done(reason: str) -> None:
    """Only what Ollama says."""
    assert judged(done("Hi", reason))[0][-1]["done_reason"] == reason.replace(SECRET, "stop")
