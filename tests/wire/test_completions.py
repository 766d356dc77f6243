"""Legacy completions: the same lanes over ``choices[].text``, with every promise of a chat."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion

from sidecar.core.document import filter_document
from sidecar.core.policy import OnEmpty, Policy, Reasoning, ToolCalls, ToolResults, UnknownFields
from sidecar.core.stats import Verdict
from sidecar.core.stream import MalformedChunk, Reading, StreamFilter
from sidecar.wire.completions import Completions
from sidecar.wire.ruling import Ruling
from tests.cuts import EXHAUSTIVE, at_random, every_way, two_way, units
from tests.promises import (
    CATALOGUE,
    LIMIT,
    Case,
    cases_in_company,
    compiled,
    in_turn,
    literals,
    name,
    run,
)
from tests.wire.streams import DIED, DONE, Json, compact, payloads, spaced, sse

SECRET = "zqSecret"
ALL = tuple(CATALOGUE.resolve(["all"]))
MOVE = Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.DECLARED)

per_case = pytest.mark.parametrize("case", list(cases_in_company()), ids=name)

# --- completions made by hand -------------------------------------------------------------------


def chunk(text: Any, finish: str | None = None, *, index: int = 0, **more: Any) -> Json:
    """One chunk with one choice; ``more`` are further keys of the choice."""
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish} | more
    return envelope(choice)


def envelope(*choices: Json, **more: Any) -> Json:
    """What is around the choices, in a chunk and in a document."""
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1700000000,
        "model": "m",
        "choices": list(choices),
    } | more


STOP = chunk("", "stop")


def side_by_side(*tokens: str, offset: int = 0) -> Json:
    """The log-probabilities of these tokens, as OpenAI and vLLM write them."""
    offsets = [offset + sum(map(len, tokens[:i])) for i in range(len(tokens))]
    return {
        "text_offset": offsets,
        "token_logprobs": [-0.5] * len(tokens),
        "tokens": list(tokens),
        "top_logprobs": [{token: -0.5, "other": -2.5} for token in tokens],
    }


def as_in_chat(token: str) -> Json:
    """The log-probabilities of one token, as llama.cpp writes them."""
    said = {"id": 1, "token": token, "bytes": list(token.encode()), "logprob": -0.5}
    return {"content": [said | {"top_logprobs": [said]}]}


def stream(*choices: Sequence[str], repeat: bool = False) -> bytes:
    """The texts, given in pieces, as a stream; choices take turns, piece by piece. ``repeat``:
    each piece again as log-probabilities."""
    chunks = []
    for turn in zip_longest(*choices):
        for index, piece in enumerate(turn):
            if piece is not None:
                more: Json = {"logprobs": side_by_side(piece)} if repeat else {}
                chunks.append(chunk(piece, index=index, **more))
    chunks += [chunk("", "stop", index=index) for index in range(len(choices))]
    return b"".join([*(sse(json.dumps(value, separators=(",", ":"))) for value in chunks), DONE])


def document(*texts: str, **more: Any) -> bytes:
    """The texts as one completion; ``more`` are further keys of its choices."""
    items = [chunk(text, "stop", index=i, **more)["choices"][0] for i, text in enumerate(texts)]
    return json.dumps(envelope(*items), separators=(",", ":")).encode()


def wire(policy: Policy | None = None, declared: Iterable[str] = ()) -> Completions:
    """A fresh one, with all the formats that are safe together."""
    policy = policy or Policy()
    return Completions(Ruling(policy, compiled(ALL, policy), frozenset(declared)))


def of(case: Case) -> Completions:
    """A fresh one for the case."""
    vocabulary = case.vocabulary
    start = vocabulary.start_in_reasoning if case.example.starts_in_reasoning else None
    return Completions(Ruling(case.policy, vocabulary, start=start))


def sent(*chunks: Json, spaces: bool = False, done: bool = True) -> bytes:
    """The chunks as a stream."""
    write = spaced if spaces else compact
    return b"".join([*(sse(write(value)) for value in chunks), DONE if done else b""])


def left(*chunks: Json, policy: Policy | None = None) -> list[Any]:
    """What is left of these chunks."""
    return payloads(run(wire(policy), [sent(*chunks)]))


def answers(out: bytes) -> dict[int, tuple[str, list[str]]]:
    """Text and finish reasons of each choice, as a client joins them; fails on an error, on text
    after a finish, and on a choice without its keys."""
    found: dict[int, tuple[str, list[str]]] = {}
    for value in payloads(out):
        assert "error" not in value, value
        for choice in value["choices"]:
            text, finishes = found.get(choice["index"], ("", []))
            assert not (choice["text"] and finishes), "text after the finish"
            if choice["finish_reason"]:
                finishes = [*finishes, choice["finish_reason"]]
            found[choice["index"]] = (text + choice["text"], finishes)
            assert "logprobs" in choice
    return found


# --- the promises -------------------------------------------------------------------------------


@per_case
def test_every_example_leaves_its_visible_text_however_the_stream_is_cut(case: Case) -> None:
    text = case.example.text
    for number, pieces in enumerate([*at_random(text, 2), [text], units(text)]):
        whole = stream(pieces)
        out = run(of(case), [whole])
        assert answers(out) == {0: (case.example.visible, ["stop"])}
        if number == 0 or EXHAUSTIVE:
            for chunks in [units(whole), *at_random(whole, 3)]:
                assert run(of(case), chunks) == out


@per_case
def test_every_example_leaves_its_visible_text_wherever_it_is_cut_in_two(case: Case) -> None:
    ban = [marker for marker in literals(case.formats) if len(marker.strip()) > 2]
    ban = [marker for marker in ban if marker not in case.example.visible]
    for pieces in list(two_way(case.example.text))[:: 1 if EXHAUSTIVE else 5]:
        out = run(of(case), [stream(pieces, repeat=True)])
        assert answers(out)[0] == (case.example.visible, ["stop"])
        for marker in ban:
            assert json.dumps(marker)[1:-1].encode() not in out


@per_case
def test_the_document_says_what_the_stream_says(case: Case) -> None:
    body = json.loads(filter_document(document(case.example.text), of(case)))
    [choice] = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == (case.example.visible, "stop")


@per_case
def test_choices_that_take_turns_do_not_affect_each_other(case: Case) -> None:
    text = case.example.text
    out = run(of(case), [stream(units(text), ["Hi", " there"], [text])])
    found = answers(out)
    assert found[0] == found[2] == (case.example.visible, ["stop"])
    if not case.example.starts_in_reasoning:
        assert found[1] == ("Hi there", ["stop"])


def test_a_short_stream_may_be_cut_anywhere() -> None:
    whole = stream(["Hi <thi", "nk>plan</th", "ink> you"], ["`<think>` is a", " tag"])
    out = run(wire(), [whole])
    for chunks in every_way(whole):
        assert run(wire(), chunks) == out
    assert answers(out) == {0: ("Hi  you", ["stop"]), 1: ("`<think>` is a tag", ["stop"])}


PROSE = st.text(alphabet=st.sampled_from([*"abc XYZ.,:;!?()=+-*/019'&\n\tß漢🤔"]), max_size=80)


@given(PROSE)
@settings(max_examples=60)
def test_prose_leaves_as_its_original_bytes(text: str) -> None:
    pieces = [f"It: {text}", text + "."]
    for repeat in (False, True):
        whole = stream(pieces, repeat=repeat)
        assert run(wire(), [whole]) == whole
    for body in (document("".join(pieces)), document(text or ".", logprobs=None)):
        assert filter_document(body, wire()) == body


def written_again(out: bytes) -> list[object]:
    """The values of the events, none of which is the one that came."""
    return [json.loads(event.removeprefix(b"data: ")) for event in out.split(b"\n\n") if event]


class LongWay(Completions):
    """Reads every event in full."""

    settled = None


@pytest.mark.parametrize(
    ("case", "policy"),
    in_turn(cases_in_company(), [Policy(), MOVE, Policy(on_empty=OnEmpty.PROMOTE)]),
)
def test_an_example_leaves_as_if_every_event_were_read_in_full(case: Case, policy: Policy) -> None:
    ruling = Ruling(policy, compiled(case.formats, policy))
    short, long = Completions(ruling), LongWay(ruling)
    events = stream(["Well, ", *case.example.text]).split(b"\n\n")[:-1]
    filters = [StreamFilter(each, limit=LIMIT) for each in (short, long)]
    for event in events:
        one, other = (each.feed(event + b"\n\n") for each in filters)
        # A text that was written again may have other escapes.
        assert one == other or written_again(one) == written_again(other)
    assert short.stats == long.stats


def test_a_plain_event_is_recognised_without_being_read() -> None:
    completions = wire()
    run(completions, [sent(chunk("Hi"), chunk(" there"), done=False)])
    settled = completions.settled
    assert settled is not None
    data = compact(chunk(" you")).encode()
    assert data == settled.around.before + b" you" + settled.around.after
    assert settled.take(" you") == Reading(Verdict.PASS)


# --- the end ------------------------------------------------------------------------------------


def test_held_text_comes_before_the_finish_and_the_finish_comes_once() -> None:
    held, finish = left(chunk("a <th"), chunk("", "length"))[1:]
    assert (held["choices"][0]["text"], held["choices"][0]["finish_reason"]) == ("<th", None)
    assert (finish["choices"][0]["text"], finish["choices"][0]["finish_reason"]) == ("", "length")
    assert held["id"] == finish["id"] == "cmpl-1"


def test_a_finish_that_comes_with_the_last_text_stays_with_it() -> None:
    assert answers(run(wire(), [sent(chunk("Hi <", None), chunk("b", "stop"))])) == {
        0: ("Hi <b", ["stop"])
    }


def test_a_choice_that_has_finished_says_nothing_more() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    late = chunk(SECRET, "stop", logprobs=side_by_side(SECRET))
    out = left(chunk("Hi"), STOP, late | {"usage": usage})
    assert SECRET not in json.dumps(out)
    assert out[-1]["usage"] == usage
    assert [c["finish_reason"] for value in out for c in value["choices"]].count("stop") == 1


@pytest.mark.parametrize("done", [True, False])
def test_an_answer_without_a_finish_ends_with_an_error_after_its_held_text(done: bool) -> None:
    *texts, error = payloads(run(wire(), [sent(chunk("a <th"), done=done)]))
    assert "".join(value["choices"][0]["text"] for value in texts) == "a <th"
    assert error["error"]["code"] == "upstream_incomplete"


def test_an_upstream_that_dies_is_reported_as_what_it_died_of() -> None:
    stream_filter = StreamFilter(wire(), limit=LIMIT)
    out = stream_filter.feed(sent(chunk("a"), done=False)) + stream_filter.finish(DIED)
    assert payloads(out)[-1]["error"]["code"] == DIED.code


def test_an_error_in_the_stream_ends_it_and_quotes_nothing_hidden() -> None:
    error = {"message": f"bad: <think>{SECRET}</think>!", "code": 500, "stack": SECRET}
    *texts, last = left(chunk("a <"), {"error": error}, chunk("more"), STOP)
    assert "".join(value["choices"][0]["text"] for value in texts) == "a <"
    assert last["error"]["code"] == 500
    assert SECRET not in json.dumps(last)


@pytest.mark.parametrize("event", ['{"choices":[1]}', '{"choices":["x"]}', "[]", "1"])
def test_what_is_no_chunk_is_malformed(event: str) -> None:
    out = run(wire(), [sse(event) + DONE])
    assert payloads(out)[-1]["error"]["code"] == "upstream_malformed"
    with pytest.raises(MalformedChunk):
        filter_document(event.encode(), wire())


def test_a_request_of_many_prompts_has_many_choices_but_not_any_number() -> None:
    last = Completions.max_choices - 1
    assert answers(run(wire(), [sent(chunk("Hi", "stop", index=last))])) == {last: ("Hi", ["stop"])}
    out = left(chunk("Hi", "stop", index=last + 1))
    assert out[-1]["error"]["code"] == "upstream_malformed"


# --- what repeats the text ----------------------------------------------------------------------


@pytest.mark.parametrize("logprobs", [side_by_side, as_in_chat], ids=["side by side", "as in chat"])
@pytest.mark.parametrize("spaces", [False, True], ids=["compact", "spaced"])
def test_the_log_probabilities_of_visible_text_stay(logprobs: Any, spaces: bool) -> None:
    pieces = ["Hi", " ß", " 🤔"]
    whole = sent(*(chunk(p, logprobs=logprobs(p)) for p in pieces), STOP, spaces=spaces)
    assert run(wire(), [whole]) == whole


@pytest.mark.parametrize("logprobs", [side_by_side, as_in_chat], ids=["side by side", "as in chat"])
def test_the_log_probabilities_of_hidden_text_go(logprobs: Any) -> None:
    text = f"Hi<think>{SECRET}</think> you"
    for pieces in ([text], units(text), ["Hi<think>", SECRET, "</think>", " you"]):
        out = run(wire(), [sent(*(chunk(p, logprobs=logprobs(p)) for p in pieces), STOP)])
        assert answers(out)[0] == ("Hi you", ["stop"])
        assert all(part not in out for part in (b"think", b"zqS", b"cret", b'"z"', b'"q"'))
    out = filter_document(document(text, logprobs=side_by_side(text)), wire())
    assert json.loads(out)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    "more",
    [
        {"tokens": ["Hi", SECRET]},
        {"tokens": [SECRET]},
        {"tokens": []},
        {"tokens": None},
        {"tokens": [1, "Hi", "!"]},
        {"top_logprobs": [{"Hi": -1}, {SECRET: -1}]},
        {"top_logprobs": [SECRET]},
        {"top_logprobs": [{"Hi": SECRET}]},
        {"text_offset": [0, 2]},
        {"content": as_in_chat(SECRET)["content"]},
        {"token_logprobs": [-0.5, -0.5]},
    ],
)
def test_log_probabilities_that_say_more_than_the_text_go(more: Json) -> None:
    [value] = left(chunk("Hi", "stop", logprobs=side_by_side("Hi") | more))
    assert value["choices"][0]["text"] == "Hi"
    assert value["choices"][0]["logprobs"] is None


def test_offsets_go_once_they_count_what_is_hidden() -> None:
    visible = chunk("Hi", logprobs=side_by_side("Hi"))
    hidden = chunk(f"<think>{SECRET}</think>")
    later = chunk("you", logprobs=side_by_side("you", offset=40))
    first, last = left(visible, hidden, later, STOP)[:2]
    assert first == visible
    assert last["choices"][0]["logprobs"] == side_by_side("you") | {"text_offset": None}


@pytest.mark.parametrize("unknown", UnknownFields)
def test_what_says_the_text_or_the_prompt_again_goes_whatever_the_rule_lets_pass(
    unknown: UnknownFields,
) -> None:
    more: Json = {
        "token_ids": [1, 2],
        "stop_reason": "</think>",
        "matched_stop": 7,
        "prompt_token_ids": [3],
        "prompt_text": SECRET,
        "prompt_logprobs": [{"1": {"decoded_token": SECRET}}],
        "hidden_states": [0.1],
        "reasoning": SECRET,
        "delta": {"content": SECRET},
        "message": {"content": SECRET},
    }
    policy = Policy(unknown_fields=unknown)
    [value] = left(chunk(f"<think>{SECRET}</think>Hi", "stop", **more), policy=policy)
    choice = {"text": "Hi", "index": 0, "logprobs": None, "finish_reason": "stop"}
    assert value["choices"] == [choice | {"stop_reason": None, "matched_stop": 7}]
    body = json.loads(filter_document(document(f"<think>{SECRET}</think>Hi", **more), wire(policy)))
    assert body["choices"] == value["choices"]


def test_an_unknown_key_is_dropped_and_counted_unless_it_passes() -> None:
    chunks = [chunk("Hi", later=1), STOP | {"later": 1}]
    completions = wire()
    out = run(completions, [sent(*chunks)])
    assert b"later" not in out
    assert completions.stats.unknown_fields == 2
    passes = Policy(unknown_fields=UnknownFields.PASS)
    assert run(wire(passes), [sent(*chunks)]) == sent(*chunks)


# --- wishes -------------------------------------------------------------------------------------

REASONED = f"<think>{SECRET}</think>Hi"
CALLED = f'<tool_call>{{"name":"f","arguments":{{"q":"{SECRET}"}}}}</tool_call>'


def test_reasoning_that_would_be_moved_is_dropped() -> None:
    body = filter_document(document(REASONED), wire(MOVE))
    assert SECRET.encode() not in body
    for pieces in ([REASONED], units(REASONED)):
        out = run(wire(MOVE), [stream(pieces)])
        assert answers(out)[0] == ("Hi", ["stop"])
        assert b"zq" not in out
        assert b"reasoning" not in out


def test_a_call_that_would_be_moved_is_dropped() -> None:
    moves = Policy(tool_calls=ToolCalls.MOVE)
    for pieces in (["Hi", CALLED], units("Hi" + CALLED)):
        out = run(wire(moves), [stream(pieces)])
        assert answers(out)[0] == ("Hi", ["stop"])
        assert b"zq" not in out
        assert b"tool_calls" not in out


def test_no_call_is_declared() -> None:
    for text in (CALLED, "Hi " + CALLED):
        out = run(wire(MOVE, declared={"f"}), [stream([text])])
        assert SECRET.encode() not in out
        assert answers(out)[0][1] == ["stop"]


def test_a_rule_that_keeps_everything_in_the_text_leaves_it() -> None:
    keeps = Policy(
        reasoning=Reasoning.KEEP, tool_calls=ToolCalls.KEEP, tool_results=ToolResults.KEEP
    )
    whole = stream([REASONED, " ", CALLED])
    assert answers(run(wire(keeps), [whole]))[0][0] == f"{REASONED} {CALLED}"


def test_reasoning_beside_the_text_is_kept_or_dropped_with_the_rest() -> None:
    chunks = [chunk("", reasoning=SECRET), chunk("Hi <"), chunk("", "stop", reasoning=SECRET)]
    assert SECRET not in json.dumps(left(*chunks))
    kept = left(*chunks, policy=Policy(reasoning=Reasoning.KEEP))
    assert json.dumps(kept).count(SECRET) == 2
    assert answers(run(wire(), [sent(*chunks)]))[0] == ("Hi <", ["stop"])


def test_an_answer_of_which_nothing_is_left_is_what_the_rule_says() -> None:
    nothing = f"<think>{SECRET}</think>"
    assert answers(run(wire(), [stream([nothing])]))[0] == ("", ["stop"])

    promotes = Policy(on_empty=OnEmpty.PROMOTE)
    for pieces in ([nothing], units(nothing)):
        assert answers(run(wire(promotes), [stream(pieces)]))[0] == (SECRET, ["stop"])
    body = json.loads(filter_document(document(nothing), wire(promotes)))
    assert body["choices"][0]["text"] == SECRET

    refuses = Policy(on_empty=OnEmpty.ERROR)
    out = run(wire(refuses), [stream([nothing])])
    assert payloads(out)[-1]["error"]["code"] == "empty_answer"
    assert b"zq" not in out
    assert b"empty_answer" in filter_document(document(nothing), wire(refuses))


def test_an_echoed_prompt_is_filtered_like_any_text() -> None:
    prompt = f"User: hi\nAssistant: <think>{SECRET}</think>Hello.\nUser: again\nAssistant:"
    out = run(wire(), [stream([prompt, " Yes", "."])])
    assert b"zq" not in out
    assert answers(out)[0][0].endswith("Hello.\nUser: again\nAssistant: Yes.")


# --- strict clients -----------------------------------------------------------------------------


@per_case
def test_whatever_leaves_is_one_that_the_openai_package_knows(case: Case) -> None:
    for value in payloads(run(of(case), [stream(units(case.example.text))])):
        for choice in value["choices"]:
            # The type is that of a document; in a stream it is null until the end.
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        Completion.model_validate(value)
    Completion.model_validate_json(filter_document(document(case.example.text), of(case)))


def test_the_usage_at_the_end_stays() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    last = envelope(usage=usage)
    assert left(chunk(f"<think>{SECRET}"), STOP, last)[-1] == last
    assert left(chunk(f"<think>{SECRET}", "stop") | {"usage": usage})[-1]["usage"] == usage


@pytest.mark.parametrize("text", [None, ""])
def test_a_choice_without_text_is_left_as_it_is(text: str | None) -> None:
    whole = sent(chunk(text), chunk("Hi"), chunk(text, "stop"))
    assert run(wire(), [whole]) == whole
    annotated: Json = {"index": 0, "finish_reason": None, "content_filter_results": {}}
    whole = sent(envelope(annotated), chunk("Hi"), STOP)
    assert run(wire(), [whole]) == whole
