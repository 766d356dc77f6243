"""Every other place in which a server says the hidden text again, as that server writes it.

Each door is one row. Its secret leaves in no byte, however the answer is cut: not as text, not
escaped, not as the bytes of a token and not as a token's id. What stands beside it stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest

from sidecar.core.document import filter_document
from sidecar.core.policy import Policy, Reasoning, ToolCalls, UnknownFields
from sidecar.core.stats import Stats
from sidecar.core.stream import StreamFilter
from tests.cuts import every_way
from tests.promises import LIMIT
from tests.wire.streams import (
    AGENT,
    DONE,
    ENVELOPE,
    ROLE,
    STOP,
    Json,
    Left,
    call,
    chat,
    chunk,
    compact,
    send,
    sse,
    whole,
)

WORDS = ("zqplan", "zqgrün🤫")
SECRET = "".join(WORDS)
IDS = [904211, 904212, 904213]
MARKED = f"<think>{SECRET}</think>"
TEXT = "Hi there"

PASS = Policy(unknown_fields=UnknownFields.PASS)
KEEPS_REASONING = Policy(reasoning=Reasoning.KEEP)
MOVES_REASONING = Policy(reasoning=Reasoning.MOVE)
KEEPS_CALLS = Policy(tool_calls=ToolCalls.KEEP)

USAGE: Json = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "total_tokens": 16,
    "completion_tokens_details": {"reasoning_tokens": 5},
}
TIMINGS: Json = {"prompt_n": 9, "prompt_ms": 3.5, "predicted_n": 7, "predicted_per_second": 51.25}


def token(text: str, *alternatives: str) -> Json:
    """One token, as in a choice's log-probabilities."""
    spelled: Json = {"token": text, "logprob": -0.5, "bytes": list(text.encode())}
    others = [{"token": each, "logprob": -1.5, "bytes": None} for each in alternatives]
    return spelled | {"top_logprobs": [dict(spelled), *others]}


def logprobs(*texts: str) -> Json:
    """Those of these tokens."""
    return {"content": [token(text) for text in texts], "refusal": None}


class Door(NamedTuple):
    """One side door: what a delta (or a message), its choice and its envelope say.

    ``of`` is the channel that it belongs to, ``""`` if it is none of which a rule says what
    becomes of it: then the door is shut while a rule hides anything at all. ``stays`` are members
    that must leave. ``counted``: it holds what no table knows, or knows to hold nothing.
    """

    name: str
    delta: Json
    choice: Json
    envelope: Json
    of: str
    stays: Json
    counted: bool

    def chunk(self, *, text: str | None = None, finish: str | None = None, **more: Any) -> Json:
        """The chunk that it is in, with or without text of its own."""
        said = {} if text is None or "content" in self.delta else {"content": text}
        return chunk(said | self.delta, finish, **self.choice) | self.envelope | more

    def stream(self) -> bytes:
        """An answer with the door by itself, then beside visible text."""
        beside = self.chunk(text=TEXT)
        shown = [] if "content" in self.delta else [beside]
        rest = [] if shown else [chunk({"content": TEXT})]
        return stream(ROLE, self.chunk(), *shown, *rest, STOP)

    def document(self) -> bytes:
        """The same as one document."""
        content: Any = TEXT
        if isinstance(self.delta.get("content"), list):
            content = [*self.delta["content"], {"type": "text", "text": TEXT}]
        message = {"role": "assistant"} | self.delta | {"content": content}
        return body(whole(message, **self.choice), **self.envelope)


def stream(*chunks: Json | bytes) -> bytes:
    """These chunks and the end mark."""
    events = [each if isinstance(each, bytes) else sse(compact(each)) for each in chunks]
    return b"".join([*events, DONE])


def body(choice: Json, **more: Any) -> bytes:
    """A whole answer."""
    answer = ENVELOPE | {"object": "chat.completion", "choices": [choice]} | more
    return compact(answer).encode()


def door(
    name: str,
    delta: Json | None = None,
    *,
    choice: Json | None = None,
    envelope: Json | None = None,
    of: str = "",
    stays: Json | None = None,
    counted: bool | None = None,
) -> Door:
    shut = not of if counted is None else counted
    return Door(name, delta or {}, choice or {}, envelope or {}, of, stays or {}, shut)


_BLOCK: Json = {"type": "thinking", "thinking": SECRET, "signature": "zqplan=="}

DOORS = [
    # Reasoning in fields of its own.
    door("reasoning_content", {"reasoning_content": SECRET}, of="reasoning"),
    door("reasoning, vllm", {"reasoning": SECRET}, of="reasoning"),
    door("thinking", {"thinking": SECRET}, of="reasoning"),
    *(
        door(
            f"reasoning and details of type {kind}, openrouter",
            {
                "reasoning": SECRET,
                "reasoning_details": [
                    {"type": f"reasoning.{kind}", key: SECRET, "format": "unknown", "index": 0}
                ],
            },
            choice={"native_finish_reason": None},
            envelope={"provider": "Anthropic"},
            of="reasoning",
            stays={"provider": "Anthropic"},
        )
        for kind, key in (("summary", "summary"), ("text", "text"), ("encrypted", "data"))
    ),
    door(
        "details without reasoning, openrouter",
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": SECRET, "id": "rs_1"}]},
        of="reasoning",
    ),
    door(
        "reasoning_items, litellm",
        {
            "reasoning_items": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": SECRET}]}
            ]
        },
        of="reasoning",
    ),
    door(
        "three times the same, litellm",
        {
            "reasoning_content": SECRET,
            "thinking_blocks": [_BLOCK],
            "provider_specific_fields": {"thinking_blocks": [_BLOCK]},
        },
        of="reasoning",
    ),
    door(
        "provider_specific_fields alone, litellm",
        {"provider_specific_fields": {"thinking_blocks": [_BLOCK]}},
        of="reasoning",
    ),
    door(
        "content as a list, mistral",
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}]},
        of="reasoning",
    ),
    door(
        "reasoning and its log-probabilities, vllm",
        {"reasoning": SECRET},
        choice={"logprobs": logprobs(*WORDS)},
        of="reasoning",
    ),
    door(
        "reasoning and its token ids, vllm",
        {"reasoning": SECRET},
        choice={"token_ids": IDS},
        of="reasoning",
    ),
    # Calls in fields of their own.
    door("tool_calls", {"tool_calls": [call("f", SECRET, id="c", type="function")]}, of="calls"),
    door(
        "a whole call with what its server adds",
        {"tool_calls": [call("f", SECRET, id="c", extra_content={"google": {"x": SECRET}})]},
        of="calls",
    ),
    door("function_call", {"function_call": {"name": "f", "arguments": SECRET}}, of="calls"),
    # The whole answer again, or the prompt, or what the model computed.
    door("hidden_states of a delta, sglang", {"hidden_states": IDS}),
    door("hidden_states of a choice, sglang", choice={"hidden_states": IDS}),
    door("sglext, sglang", envelope={"sglext": {"output_ids": [IDS], "input_ids": IDS}}),
    door("prompt_text, vllm", envelope={"prompt_text": SECRET}),
    door("prompt_token_ids, vllm", envelope={"prompt_token_ids": IDS}),
    door("prompt_token_ids of a choice, vllm", choice={"prompt_token_ids": IDS}),
    door(
        "prompt_logprobs, vllm",
        envelope={"prompt_logprobs": [None, {str(IDS[0]): {"decoded_token": SECRET}}]},
    ),
    door(
        "__verbose, llama.cpp",
        envelope={"__verbose": {"content": MARKED, "prompt": SECRET, "tokens": IDS}}
        | {"timings": TIMINGS},
        stays={"timings": TIMINGS},
    ),
    door("_debug_info, ollama", envelope={"_debug_info": {"rendered_template": SECRET}}),
    door(
        "x_groq.debug, groq",
        envelope={
            "x_groq": {
                "id": "req_1",
                "usage": USAGE,
                "debug": {"output_tokens": [SECRET], "output_token_ids": IDS},
            }
        },
        stays={"x_groq": {"id": "req_1", "usage": USAGE}},
    ),
    door(
        "provider_specific_fields of a choice, litellm",
        choice={"provider_specific_fields": {"thinking_blocks": [_BLOCK]}},
    ),
    door("text of a choice", choice={"text": MARKED}),
    # Log-probabilities and ids, where nothing else says what they say.
    door(
        "log-probabilities of text that is not there",
        choice={"logprobs": logprobs(*WORDS)},
        counted=False,
    ),
    door(
        "log-probabilities of hidden and visible text, ollama",
        choice={"logprobs": logprobs(*WORDS, TEXT)},
        counted=False,
    ),
    door(
        "log-probabilities as lists side by side, mlx",
        choice={
            "logprobs": {"tokens": IDS, "token_logprobs": [-0.5], "top_logprobs": [{SECRET: -0.5}]}
        },
    ),
    door(
        "text that says something else than its bytes",
        choice={"logprobs": {"content": [token(TEXT) | {"bytes": list(SECRET.encode())}]}},
        counted=False,
    ),
]
per_door = pytest.mark.parametrize("door", DOORS, ids=[door.name for door in DOORS])


# What leaves.


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included, and what each list of numbers spells."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        small = [each for each in value if type(each) is int and 0 <= each < 256]
        yield bytes(small).decode("utf-8", "replace")
        for inner in value:
            yield from strings(inner)


def members(value: Any, key: str) -> Iterator[Any]:
    """What stands under ``key``, wherever it is."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from members(inner, key)


def assert_no_secret(raw: bytes, values: Iterable[Any]) -> None:
    texts = [raw.decode(), *strings(list(values))]
    for word in WORDS:
        for spelling in (word, json.dumps(word)[1:-1], json.dumps(json.dumps(word))[2:-2]):
            assert not any(spelling in text for text in texts)
    for number in IDS:
        assert str(number).encode() not in raw


def run(sent: bytes, policy: Policy, declared: Iterable[str] = (), *, cuts: bool = True) -> Left:
    """The stream, through the filter. ``cuts``: it leaves as the same bytes in every cut."""
    whole_, *others = every_way(sent) if cuts else [[sent]]
    left = _run(whole_, policy, declared)
    assert all(_run(pieces, policy, declared) == left for pieces in others)
    return left


def _run(pieces: Iterable[bytes], policy: Policy, declared: Iterable[str]) -> Left:
    wire = chat(policy, declared)
    filter_ = StreamFilter(wire, limit=LIMIT)
    return Left(b"".join([*map(filter_.feed, pieces), filter_.finish()]), wire.stats)


def read(sent: bytes, policy: Policy) -> tuple[bytes, Json, Stats]:
    """The document, through the filter."""
    wire = chat(policy)
    out = filter_document(sent, wire)
    return out, json.loads(out), wire.stats


def hiding(door: Door) -> list[Policy]:
    """Rules under which the door is shut."""
    policies = [Policy(), PASS]
    if "reasoning" not in door.of:
        policies += [KEEPS_REASONING, MOVES_REASONING]
    if "calls" not in door.of:
        policies += [KEEPS_CALLS]
    return policies


@per_door
def test_a_side_door_of_a_stream_is_shut(door: Door) -> None:
    for policy in hiding(door):
        # Each rule takes the same way through the bytes: one shows that the cut does not matter.
        left = run(door.stream(), policy, cuts=policy == Policy())
        assert_no_secret(left.raw, left.payloads)
        assert left.choice().text == TEXT
        assert left.choice().roles == ["assistant"]
        assert left.choice().finishes == ["stop"]
        assert bool(left.stats.unknown_fields) == door.counted
        for key, value in door.stays.items():
            assert value in members(left.payloads, key)


@per_door
def test_a_side_door_of_a_document_is_shut(door: Door) -> None:
    for policy in hiding(door):
        raw, answer, stats = read(door.document(), policy)
        assert_no_secret(raw, [answer])
        message = answer["choices"][0]["message"]
        content = message["content"]
        assert content == TEXT or content == [{"type": "text", "text": TEXT}]
        assert message["role"] == "assistant"
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert bool(stats.unknown_fields) == door.counted
        for key, value in door.stays.items():
            assert value in members(answer, key)


RIDERS: list[tuple[str, Json, str | None, Json]] = [
    ("the finish", {}, "length", {}),
    ("usage", {}, None, {"usage": USAGE}),
    ("usage and the finish", {}, "stop", {"usage": USAGE}),
    ("timings", {}, None, {"timings": TIMINGS}),
    ("x_groq", {}, None, {"x_groq": {"id": "req_1", "usage": USAGE}}),
    ("the first role", {"role": "assistant"}, None, {}),
]


@pytest.mark.parametrize("rider", RIDERS, ids=[name for name, *_ in RIDERS])
@per_door
def test_a_chunk_that_says_something_else_too_stays_and_is_emptied(
    door: Door, rider: tuple[str, Json, str | None, Json]
) -> None:
    _, says, finish, envelope = rider
    if envelope.keys() & door.envelope.keys():
        return  # A server says that once.
    riding = door._replace(delta=says | door.delta).chunk(finish=finish, **envelope)
    before = [] if says else [ROLE, chunk({"content": TEXT})]
    after = [chunk({"content": TEXT})] if says else []
    left = send(*before, riding, *after, *([] if finish else [STOP]))
    assert_no_secret(left.raw, left.payloads)
    assert left.error is None
    assert left.choice().roles == ["assistant"]
    assert left.choice().finishes == [finish or "stop"]
    kept = left.payloads[len(before)]
    assert kept["choices"][0]["finish_reason"] == finish
    assert not any(value for key, value in kept["choices"][0]["delta"].items() if key != "role")
    for key, value in envelope.items():
        assert kept[key] == value
    if says:
        assert kept["choices"][0]["delta"]["role"] == "assistant"


def test_usage_on_every_chunk_stays_on_every_chunk() -> None:
    # vLLM with continuous_usage_stats.
    said = [ROLE, chunk({"reasoning": WORDS[0]}), chunk({"reasoning": WORDS[1]})]
    said += [chunk({"content": TEXT}), STOP]
    counted = [each | {"usage": USAGE | {"total_tokens": n}} for n, each in enumerate(said)]
    left = run(stream(*counted), Policy())
    assert_no_secret(left.raw, left.payloads)
    assert [value["usage"]["total_tokens"] for value in left.payloads] == [0, 1, 2, 3, 4]


# What a rule keeps.


@pytest.mark.parametrize(
    "policy", [KEEPS_REASONING, MOVES_REASONING, AGENT], ids=["keep", "move", "agent"]
)
@pytest.mark.parametrize(
    "door", [door for door in DOORS if "reasoning" in door.of], ids=lambda door: door.name
)
def test_reasoning_that_is_kept_keeps_all_its_places(door: Door, policy: Policy) -> None:
    alone = stream(ROLE, door.chunk(), chunk({"content": TEXT}), STOP)
    assert run(alone, policy).raw == alone
    message = door._replace(choice={}).document()
    assert read(message, policy)[0] == message


@pytest.mark.parametrize(
    ("policy", "declared"),
    [(KEEPS_CALLS, ()), (AGENT, ("f",))],
    ids=["keep", "declared"],
)
@pytest.mark.parametrize("door", [door for door in DOORS if door.of == "calls"], ids=lambda d: d[0])
def test_calls_that_are_kept_keep_all_their_places(
    door: Door, policy: Policy, declared: tuple[str, ...]
) -> None:
    sent = door.stream()
    assert run(sent, policy, declared).raw == sent


@pytest.mark.parametrize("ids", [IDS, None])
def test_log_probabilities_of_reasoning_and_content_in_one_delta_stay_with_both(
    ids: list[int] | None,
) -> None:
    # vLLM, at the boundary.
    more: Json = {"token_ids": ids} if ids else {}
    both = chunk(
        {"reasoning": WORDS[0], "content": TEXT}, logprobs=logprobs(WORDS[0], TEXT), **more
    )
    sent = stream(ROLE, both, STOP)
    assert run(sent, KEEPS_REASONING).raw == sent
    left = run(sent, Policy())
    assert_no_secret(left.raw, left.payloads)
    assert left.choice().text == TEXT


def test_what_a_rule_lets_through_is_no_reason_to_let_through_what_repeats_hidden_text() -> None:
    for door in DOORS:
        if door.of:
            continue
        envelope: Json = {"tomorrow": {"a": 1}}
        left = send(ROLE, door.chunk(text=TEXT, **envelope), STOP, policy=PASS)
        assert_no_secret(left.raw, left.payloads)
        assert left.payloads[1]["tomorrow"] == {"a": 1}


def test_an_unknown_key_that_is_let_through_keeps_its_chunk() -> None:
    for sent in (
        chunk({"reasoning": SECRET}) | {"tomorrow": 1},
        ENVELOPE | {"choices": [], "sglext": {"output_ids": IDS}, "tomorrow": 1},
    ):
        left = send(ROLE, sent, chunk({"content": TEXT}), STOP, policy=PASS)
        assert_no_secret(left.raw, left.payloads)
        assert left.payloads[1]["tomorrow"] == 1
        assert len(send(ROLE, sent, chunk({"content": TEXT}), STOP).payloads) == 3


def test_an_opaque_handle_that_nobody_knows_follows_the_rule_for_unknown_keys() -> None:
    handle = {"kv_transfer_params": {"remote_block_ids": IDS}}
    sent = stream(ROLE, chunk({"content": TEXT}) | handle, STOP)
    left = run(sent, Policy())
    assert_no_secret(left.raw, left.payloads)
    assert left.stats.unknown_fields == 1
    assert run(sent, PASS).raw == sent


# Events with a name.


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("policy", [Policy(), PASS], ids=["drop", "pass"])
def test_an_event_of_nothing_but_token_ids_does_not_leave(end: str, policy: Policy) -> None:
    data = compact(ENVELOPE | {"choices": [], "sglext": {"output_ids": [IDS], "input_ids": IDS}})
    named = f"event: sglext_ids{end}data: {data}{end}{end}".encode()
    left = run(stream(ROLE, chunk({"content": TEXT}), STOP, named), policy)
    assert left.raw == stream(ROLE, chunk({"content": TEXT}), STOP)
    assert left.stats.unknown_fields == 1


def test_a_chunk_with_a_name_is_judged_like_any_other_and_loses_it() -> None:
    named = f"event: {SECRET}\ndata: {compact(chunk({'reasoning': SECRET, 'content': TEXT}))}\n\n"
    left = run(stream(ROLE, named.encode(), STOP), Policy())
    assert left.raw == stream(ROLE, chunk({"content": TEXT}), STOP)


# One message in two shapes.


def test_content_may_be_a_list_in_one_chunk_and_a_text_in_the_next() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}
    chunks = [
        ROLE,
        chunk({"content": [thinking]}),
        chunk({"content": [thinking, {"type": "text", "text": "Hi<thi"}]}),
        chunk({"content": f"nk>{SECRET}</th"}),
        chunk({"content": [{"type": "text", "text": "ink> there"}]}),
        chunk({"content": "!"}, "stop") | {"usage": USAGE},
    ]
    left = run(stream(*chunks), Policy())
    assert_no_secret(left.raw, left.payloads)
    assert left.choice().text == "Hi there!"
    assert left.payloads[-1]["usage"] == USAGE


@pytest.mark.parametrize("policy", [Policy(), PASS], ids=["drop", "pass"])
@pytest.mark.parametrize(
    "said",
    [
        {"content": MARKED + TEXT},
        {"content": TEXT, "reasoning_content": SECRET},
        {"content": TEXT, "tool_calls": [call("f", SECRET)]},
    ],
)
def test_the_whole_message_beside_its_last_delta_does_not_leave(said: Json, policy: Policy) -> None:
    # Perplexity sends it with every chunk, others with the last.
    message: Json = {"message": {"role": "assistant"} | said}
    left = run(stream(ROLE, chunk({"content": TEXT}), chunk({}, "stop", **message)), policy)
    assert left.raw == stream(ROLE, chunk({"content": TEXT}), STOP)
    assert left.stats.unknown_fields == 1
    raw, answer, _ = read(body(whole({"content": TEXT}, delta=message["message"])), policy)
    assert_no_secret(raw, [answer])


# Text of the model's outside its content.


def refusing(*texts: str, **more: Any) -> bytes:
    return stream(ROLE, *(chunk({"refusal": text}, **more) for text in texts), STOP)


def refusal_of(left: Left) -> str:
    return "".join(delta.get("refusal") or "" for delta in left.choice().deltas)


@pytest.mark.parametrize(
    "texts",
    [[MARKED + "No."], ["<thi", "nk>", SECRET, "</thi", "nk>No", "."]],
    ids=["whole", "cut"],
)
def test_a_refusal_is_the_models_text_and_read_like_it(texts: list[str]) -> None:
    left = run(refusing(*texts), Policy())
    assert_no_secret(left.raw, left.payloads)
    assert refusal_of(left) == "No."
    assert left.choice().finishes == ["stop"]
    moved = run(refusing(*texts), MOVES_REASONING)
    assert refusal_of(moved) == "No."
    assert moved.choice().reasoning == SECRET
    message = {"role": "assistant", "content": None, "refusal": "".join(texts)}
    _, answer, _ = read(body(whole(message)), Policy())
    assert answer["choices"][0]["message"] == message | {"refusal": "No."}
    _, answer, _ = read(body(whole(message)), MOVES_REASONING)
    assert answer["choices"][0]["message"]["reasoning_content"] == SECRET


def test_a_refusal_among_the_parts_of_the_content_is_read_like_it() -> None:
    part = {"type": "refusal", "refusal": MARKED + "No."}
    left = run(stream(ROLE, chunk({"content": [part]}), STOP), Policy())
    assert_no_secret(left.raw, left.payloads)
    assert left.payloads[1] == chunk({"content": [{"type": "refusal", "refusal": "No."}]})


def test_a_refusal_and_the_content_are_two_texts() -> None:
    sent = [
        chunk({"content": "a <th"}),
        chunk({"refusal": "ink>b</th"}),
        chunk({"content": "an c"}),
    ]
    left = run(stream(ROLE, *sent, STOP), Policy())
    assert left.choice().text == "a <than c"
    assert refusal_of(left) == "ink>b</th"


def test_the_log_probabilities_of_a_refusal_go_with_what_is_hidden_of_it() -> None:
    tokens = {"content": None, "refusal": [token("<think>"), token(SECRET), token("</think>No.")]}
    left = run(refusing(MARKED + "No.", logprobs=tokens), Policy())
    assert_no_secret(left.raw, left.payloads)
    visible = refusing("No.", logprobs={"content": None, "refusal": [token("No.")]})
    assert run(visible, Policy()).raw == visible


# Text of other people's, and what a transcript says aloud.

NOT_THE_MODELS: list[tuple[str, Json]] = [
    ("audio", chunk({"audio": {"id": "a", "data": "AAAA", "transcript": "so <think> is a tag"}})),
    (
        "annotations",
        chunk({"annotations": [{"type": "file_citation", "content": "a <think> tag"}]}),
    ),
    (
        "url_citation",
        chunk({"annotations": [{"type": "url_citation", "url_citation": {"content": "<think>"}}]}),
    ),
    ("search_results", STOP | {"search_results": [{"title": "t", "snippet": "<think> and so on"}]}),
    ("citations", STOP | {"citations": ["https://example.org/?q=<think>"]}),
]


@pytest.mark.parametrize("sent", [v for _, v in NOT_THE_MODELS], ids=[n for n, _ in NOT_THE_MODELS])
def test_what_the_model_did_not_write_is_not_searched_for_markers(sent: Json) -> None:
    # A page about a marker says nothing that the model thought; a transcript is heard anyway.
    events = stream(ROLE, chunk({"content": TEXT}), sent, *([] if finishes(sent) else [STOP]))
    assert run(events, Policy()).raw == events


def finishes(value: Json) -> bool:
    return any(each["finish_reason"] for each in value["choices"])


@pytest.mark.parametrize("inside", ["reasoning", "reasoning_content", "thinking", "thoughts"])
def test_what_stands_outside_the_content_is_never_reasoning_by_its_key(inside: str) -> None:
    said = {inside: SECRET}
    places: list[Json] = [
        chunk({"audio": {"transcript": "x"} | said}),
        chunk({"annotations": [{"type": "url_citation", "url_citation": said} | said]}),
        STOP | {"search_results": [{"snippet": "x"} | said], "citations": [said]},
        STOP | {"usage": USAGE | said, "timings": TIMINGS | said, "x_groq": {"id": "r"} | said},
    ]
    for place in places:
        events = stream(ROLE, chunk({"content": TEXT}), place, *([] if finishes(place) else [STOP]))
        left = run(events, Policy())
        assert_no_secret(left.raw, left.payloads)
        assert left.stats.unknown_fields


# Alternatives.


@pytest.mark.parametrize("other", ["<think>", "</think>", "<tool_call>", "Well"])
def test_the_alternatives_of_a_visible_token_are_not_hidden_text(other: str) -> None:
    said = {"content": [token("Hi", other), token(" there", other)], "refusal": None}
    sent = stream(ROLE, chunk({"content": TEXT}, logprobs=said), STOP)
    assert run(sent, Policy()).raw == sent


def test_the_alternatives_of_a_hidden_token_go_with_it() -> None:
    said = {"content": [token(WORDS[0], WORDS[1])], "refusal": None}
    for delta in ({"reasoning": WORDS[0]}, {"content": "<think>"}, {"content": ""}):
        left = run(stream(ROLE, chunk(delta, logprobs=said), STOP), Policy())
        assert_no_secret(left.raw, left.payloads)


# Errors.


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": [{"msg": SECRET}], "detail": [{"input": SECRET}]}},
        {"error": {"message": "bad", "metadata": {"raw": SECRET}, "failed_generation": SECRET}},
        {"error": [{"loc": ["body"], "msg": SECRET}]},
        {"error": {"detail": SECRET}},
        {"detail": [{"loc": ["body", 0], "msg": "bad", "input": SECRET}]},
        {"detail": SECRET},
        {"detail": {"error": SECRET}},
        {"object": "error", "message": SECRET, "code": 400},
        [{"error": {"message": SECRET}}],
        chunk({"content": None}, "error", error={"message": SECRET, "metadata": {"raw": SECRET}}),
    ],
    ids=lambda error: compact(error)[:60],
)
def test_an_error_in_any_shape_brings_nothing_hidden_and_is_no_success(error: Any) -> None:
    left = run(stream(ROLE, chunk({"content": TEXT}), sse(compact(error))), Policy())
    assert_no_secret(left.raw, left.payloads)
    assert left.choice().text == TEXT
    assert left.error is not None or left.choice().finishes == ["error"]
