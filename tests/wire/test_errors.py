"""Errors of upstream: what is told of them, in whose words, and in each wire format's shape."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jsontext import dump, parse
from sidecar.core.policy import Errors, Policy, StartsIn
from sidecar.core.stream import StreamFilter
from sidecar.wire.errorclass import ErrorClass, classify, sentence
from sidecar.wire.errors import MAX_ERROR, MAX_MESSAGE, visible_error
from sidecar.wire.errorshapes import messages_error, ollama_error, openai_error, reported
from sidecar.wire.formats import WIRE_FORMATS
from sidecar.wire.responses import Responses
from sidecar.wire.ruling import Ruling
from tests.promises import CATALOGUE, LIMIT, compiled

from .streams import ROLE, chunk, send

OWN = Policy(errors=Errors.OWN)
SECRET = "QQQQ"
SENTENCES = {sentence(found) for found in ErrorClass}


def ruling(policy: Policy | None = None, *, in_reasoning: bool = False) -> Ruling:
    """One with all the formats that are safe together."""
    policy = policy or Policy()
    vocabulary = compiled(tuple(CATALOGUE.resolve(("all",))), policy)
    start = vocabulary.start_in_reasoning if in_reasoning else None
    return Ruling(policy, vocabulary, start=start)


RULING = ruling()


def told(error: Any, rules: Ruling = RULING, status: int | None = None) -> dict[str, Any]:
    """What a client is told."""
    return visible_error(error, rules, status)[0]


# --- classes ------------------------------------------------------------------------------------

CONTEXT = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"
REAL: list[tuple[ErrorClass, int | None, Any]] = [
    # OpenAI, Azure
    (
        ErrorClass.CONTEXT_LENGTH,
        400,
        {"message": CONTEXT, "type": "invalid_request_error", "code": "context_length_exceeded"},
    ),
    (ErrorClass.CONTEXT_LENGTH, 400, {"message": "Input tokens exceed the configured limit of 9"}),
    (ErrorClass.RATE_LIMIT, 429, {"type": "requests", "code": "rate_limit_exceeded"}),
    (ErrorClass.QUOTA, 429, {"type": "insufficient_quota", "code": "insufficient_quota"}),
    (ErrorClass.AUTHENTICATION, 401, {"message": "No.", "code": "invalid_api_key"}),
    (ErrorClass.MODEL_NOT_FOUND, 404, {"message": "The model `x` does not exist"}),
    (ErrorClass.INVALID_PARAMETER, 400, {"type": "invalid_request_error", "param": "tools[0]"}),
    (ErrorClass.CONTENT_FILTER, 400, {"code": "content_filter", "param": "prompt"}),
    (
        ErrorClass.CONTENT_FILTER,
        400,
        {"code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    ),
    (ErrorClass.SERVER, 500, {"message": "Oops", "type": "server_error"}),
    # vLLM
    (ErrorClass.CONTEXT_LENGTH, 400, {"message": CONTEXT, "type": "BadRequestError", "code": 400}),
    (
        ErrorClass.CONTEXT_LENGTH,
        400,
        {"message": "The decoder prompt (length 9) is longer than the maximum model length of 8"},
    ),
    (ErrorClass.MODEL_NOT_FOUND, None, {"message": "The model `x` does not exist.", "code": 404}),
    (ErrorClass.SERVER, None, {"message": "x", "type": "InternalServerError", "code": 500}),
    # SGLang, llama.cpp, Ollama, TGI
    (ErrorClass.CONTEXT_LENGTH, 400, {"message": "longer than the model's context length (9)"}),
    (ErrorClass.CONTEXT_LENGTH, 500, {"type": "exceed_context_size_error", "code": 500}),
    (ErrorClass.CONTEXT_LENGTH, 500, {"message": "exceeds the available context size"}),
    (ErrorClass.SERVER, 503, {"message": "Loading model", "type": "unavailable_error"}),
    (ErrorClass.CONTEXT_LENGTH, 400, "the input length exceeds the context length"),
    (ErrorClass.MODEL_NOT_FOUND, None, "model 'x' not found"),
    (ErrorClass.MODEL_NOT_FOUND, None, 'model "x" not found, try pulling it first'),
    (ErrorClass.SERVER, 503, "server busy, please try again."),
    (ErrorClass.CONTEXT_LENGTH, 422, "`inputs` tokens + `max_new_tokens` must be <= 2048"),
    (ErrorClass.RATE_LIMIT, None, {"message": "Model is busy", "http_status_code": 429}),
    # Anthropic, Bedrock
    (
        ErrorClass.CONTEXT_LENGTH,
        400,
        {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"},
    ),
    (ErrorClass.QUOTA, 400, {"type": "invalid_request_error", "message": "Your credit balance is"}),
    (ErrorClass.AUTHENTICATION, 401, "invalid x-api-key"),
    (ErrorClass.PERMISSION, 403, {"type": "permission_error"}),
    (ErrorClass.MODEL_NOT_FOUND, 404, {"type": "not_found_error", "message": "model: x"}),
    (ErrorClass.TOO_LARGE, 413, {"type": "request_too_large"}),
    (ErrorClass.SERVER, None, {"type": "overloaded_error", "message": "Overloaded"}),
    (ErrorClass.TIMEOUT, 504, {"type": "timeout_error"}),
    # LiteLLM, OpenRouter, Gemini
    (
        ErrorClass.CONTEXT_LENGTH,
        400,
        {"message": "litellm.ContextWindowExceededError: x", "type": None, "code": "400"},
    ),
    (
        ErrorClass.CONTENT_FILTER,
        400,
        {"message": "litellm.ContentPolicyViolationError: x", "code": "400"},
    ),
    (ErrorClass.QUOTA, None, {"message": "Insufficient credits.", "code": 402}),
    (ErrorClass.RATE_LIMIT, None, {"message": "x", "code": 429, "status": "RESOURCE_EXHAUSTED"}),
    (ErrorClass.INVALID_PARAMETER, None, {"code": 400, "status": "INVALID_ARGUMENT"}),
    # Proxies in between
    (ErrorClass.TIMEOUT, 408, None),
    (ErrorClass.SERVER, 502, None),
    (ErrorClass.OTHER, 418, None),
    (ErrorClass.OTHER, None, "no"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "status", "error"), REAL)
def test_the_class_of_a_real_error(found: ErrorClass, status: int | None, error: Any) -> None:
    assert classify(error, status) is found


def test_every_class_has_a_real_error_and_a_sentence_of_its_own() -> None:
    assert {found for found, _, _ in REAL} == set(ErrorClass)
    assert len(SENTENCES) == len(ErrorClass)


def test_what_an_error_quotes_of_the_prompt_does_not_decide() -> None:
    quoting = "invalid value" + " " * MAX_MESSAGE + "rate limit, context length, api key"
    assert classify({"message": quoting}, 400) is ErrorClass.INVALID_PARAMETER


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "message", "type", "code", "param", "status", "http_status_code", "innererror", "error",
    "detail", "loc", "msg", "input", "request_id", "metadata",
)  # fmt: skip
ERRORS = JSON | st.dictionaries(st.sampled_from(MEMBERS), JSON)
DOCUMENTS = ERRORS | st.fixed_dictionaries(
    {}, optional={"error": ERRORS, "detail": ERRORS | st.lists(ERRORS), "message": JSON}
)


@given(ERRORS, st.none() | st.integers(400, 599))
def test_our_own_words_repeat_nothing_but_a_parameter(error: Any, status: int | None) -> None:
    record = told(error, ruling(OWN), status)
    allowed = SENTENCES | {sentence(ErrorClass.INVALID_PARAMETER, record["param"])}
    assert record["message"] in allowed


def test_our_own_words_name_a_parameter_and_keep_the_identifiers() -> None:
    error = {"message": SECRET, "type": "t", "code": "c", "param": "messages[3].content"}
    record = told(error, ruling(OWN), 400)
    assert "messages[3].content" in record.pop("message")
    assert record == {"type": "t", "code": "c", "param": "messages[3].content"}


# --- what is told -------------------------------------------------------------------------------


@given(ERRORS, st.none() | st.integers(400, 599))
def test_whatever_is_reported_an_error_has_four_plain_members(
    error: Any, status: int | None
) -> None:
    record, dropped = visible_error(error, RULING, status)
    assert set(record) == {"message", "type", "code", "param"}
    assert record["message"].strip()
    assert record["type"]
    assert len(record["message"].encode("utf-8", "surrogatepass")) <= MAX_MESSAGE
    assert dropped >= len(set(error) - set(record) if isinstance(error, dict) else ())
    assert json.loads(dump(record, exact=True))


@pytest.mark.parametrize("key", ["type", "code", "param"])
@pytest.mark.parametrize(
    "smuggled",
    [
        "a b", "Two Words", "x" * 129, "a\nb", "a\n", "é", "٣", "", "{}",
        "<think>a", "a</think>", "[THINK]a[/THINK]",
    ],
)  # fmt: skip
def test_text_in_the_place_of_an_identifier_is_dropped(key: str, smuggled: str) -> None:
    record, dropped = visible_error({"message": "m", key: smuggled}, RULING)
    assert record == {"message": "m", "type": "upstream_error", "code": None, "param": None}
    assert dropped == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", "invalid_request_error"),
        ("type", "Bad Request"),  # vLLM
        ("code", "unsupported_value"),
        ("code", 400),
        ("code", "400"),
        ("param", "messages[3].content"),
        ("param", "tools[0].function.parameters.$defs"),
        ("param", "/messages/0"),
    ],
)
def test_identifiers_are_kept(key: str, value: Any) -> None:
    record, dropped = visible_error({"message": "m", key: value}, RULING)
    assert record[key] == value
    assert not dropped


def test_an_endless_number_is_no_code() -> None:
    error = parse(b'{"message":"m","code":' + b"7" * 4000 + b"}").value
    assert told(error)["code"] is None


HIDING = [
    "<think>QQQQ</think>",
    '<tool_call>{"name":"QQQQ","arguments":{}}</tool_call>',
    "<|channel|>analysis<|message|>QQQQ<|end|>",
    '[TOOL_CALLS][{"name":"QQQQ"}]',
]


@pytest.mark.parametrize("hidden", HIDING)
@pytest.mark.parametrize("around", ["{}", "`{}`", "```\n{}\n```", "~~~\n{}\n~~~", '"{}"', "'{}'"])
def test_hidden_text_that_a_message_quotes_is_not_shown(hidden: str, around: str) -> None:
    """However it is quoted, and wherever upstream has cut the quotation."""
    message = "cannot parse " + around.format(hidden)
    for end in range(len("cannot parse "), len(message) + 1):
        shown = told({"message": message[:end]})["message"]
        assert shown.startswith("cannot parse"), message[:end]
        assert "Q" not in shown, message[:end]


def test_a_message_that_hides_nothing_is_not_touched() -> None:
    message = "unknown key `foo` in ~x~, 1 < 2\n```json\n{}\n```\n at 'messages'"
    assert told({"message": message})["message"] == message


def test_a_quotation_that_begins_in_reasoning_is_not_shown() -> None:
    rules = ruling(Policy(starts_in=StartsIn.REASONING), in_reasoning=True)
    assert told({"message": f"{SECRET}</think>Hi"}, rules)["message"] == "Hi"
    assert told({"message": CONTEXT}, rules)["message"] == CONTEXT


UNITS = st.text(st.characters(codec="utf-8", exclude_characters="<[`~"), max_size=20)
"""So often, what is still read of a message, and no marker."""


@given(UNITS, st.integers(0, 3))
def test_a_long_message_is_cut_at_a_whole_character(unit: str, more: int) -> None:
    message = "too long: " + (unit + "é€😀") * (MAX_MESSAGE // 4) + "x" * more
    shown = told({"message": message})["message"]
    assert message.startswith(shown)
    assert MAX_MESSAGE - 4 < len(shown.encode()) <= MAX_MESSAGE


@pytest.mark.parametrize("hidden", HIDING)
def test_the_cut_shows_no_part_of_what_is_hidden(hidden: str) -> None:
    for before in range(MAX_MESSAGE - len(hidden) - 2, MAX_MESSAGE + 2):
        shown = told({"message": "x" * before + hidden + "x" * 99})["message"]
        assert Counter(shown) == {"x": min(before + 99, MAX_MESSAGE)}


def test_a_message_too_large_to_be_read_is_ours() -> None:
    message = "rate limit" + "x" * MAX_ERROR
    assert told({"message": message})["message"] == sentence(ErrorClass.RATE_LIMIT)


def test_errors_in_streams_are_told_in_our_words_too() -> None:
    error = {"message": f"{CONTEXT} {SECRET}", "type": "BadRequestError", "code": 400}
    ours = sentence(ErrorClass.CONTEXT_LENGTH)
    left = send(ROLE, chunk({"content": "Hi"}), {"error": error}, policy=OWN)
    assert left.error == {"message": ours, "type": "BadRequestError", "code": 400, "param": None}
    stream = StreamFilter(Responses(ruling(OWN)), limit=LIMIT)
    event = b"event: error\ndata: " + dump({"type": "error", "error": error}, exact=False)
    out = stream.feed(event + b"\n\n") + stream.finish(None)
    assert ours.encode() in out
    assert SECRET.encode() not in out


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"error": {"message": "m", "type": "t"}}, "m"),
        ({"object": "error", "message": "m", "type": "t", "code": 400}, "m"),
        ({"message": "m"}, "m"),
        ({"error": "m", "error_type": "validation"}, "m"),
        ({"detail": "m"}, "m"),
        ({"detail": {"error": "m"}}, "m"),
        ({"detail": {"message": "m"}}, "m"),
        ({"type": "error", "error": {"type": "api_error", "message": "m"}}, "m"),
        ({"error": {"message": "m", "code": "x", "innererror": {"code": SECRET}}}, "m"),
        ({"error": {"message": "m", "code": 502, "metadata": {"raw": SECRET}}}, "m"),
        (
            {
                "detail": [
                    {"loc": ["body", "messages", 0, "content"], "msg": "m", "input": SECRET},
                    {"loc": ["body"], "msg": "n", "ctx": {"error": SECRET}},
                    {"msg": "o"},
                ]
            },
            "messages[0].content: m; n; o",
        ),
    ],
)
def test_the_error_of_a_document(document: Any, message: str) -> None:
    error, _ = reported(document)
    record = told(error)
    assert record["message"] == message
    assert SECRET not in str(record)


def test_a_validation_error_names_its_parameter() -> None:
    where = ["body", "messages", 0, "content"]
    error, _ = reported({"detail": [{"loc": where, "msg": "Field required", "type": "missing"}]})
    assert told(error)["param"] == "messages[0].content"


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, "m", 7, {"error": None}, {"error": True}, {"error": {}}, {"error": [SECRET]},
        {"message": 7}, {"detail": []}, {"detail": [7]}, {"detail": [{"input": SECRET}]},
        {"detail": {"detail": {}}},
    ],
)  # fmt: skip
def test_what_is_no_error_is_none(document: Any) -> None:
    assert reported(document) == (None, None)


@given(DOCUMENTS, st.integers(400, 599))
def test_every_document_gives_a_body_in_every_wire_format(document: Any, status: int) -> None:
    error, request_id = reported(document)
    record = told(error, status=status) | {"request_id": request_id}
    for wire_format in WIRE_FORMATS:
        body = json.loads(dump(wire_format.error(status, record), exact=True))
        told_there = body["error"]
        message = told_there if isinstance(told_there, str) else told_there["message"]
        assert message == json.loads(dump(record["message"], exact=True))


def test_each_wire_format_has_its_own_words() -> None:
    shapes = {wire_format.name: wire_format.error for wire_format in WIRE_FORMATS}
    own = {
        "chat": openai_error,
        "completions": openai_error,
        "responses": openai_error,
        "messages": messages_error,
        "ollama_chat": ollama_error,
        "ollama_generate": ollama_error,
    }
    assert shapes == {name: own[name] for name in shapes}


ERROR = {"message": "m", "type": "t", "code": 7, "param": "p", "request_id": "req_1"}


def test_openais_words() -> None:
    members = {key: ERROR[key] for key in ("message", "type", "code", "param")}
    assert openai_error(400, ERROR) == {"error": members}


def test_anthropics_words() -> None:
    told_there = {"type": "t", "message": "m"}
    assert messages_error(400, ERROR) == {
        "type": "error",
        "error": told_there,
        "request_id": "req_1",
    }
    anonymous = ERROR | {"request_id": None}
    assert messages_error(400, anonymous) == {"type": "error", "error": told_there}


@pytest.mark.parametrize("kind", [None, "upstream_error"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_anthropics_types_where_upstream_gave_none(
    status: int, expected: str, kind: str | None
) -> None:
    body = messages_error(status, {"message": "m", "type": kind})
    assert body["error"]["type"] == expected


def test_ollamas_words() -> None:
    assert ollama_error(400, ERROR) == {"error": "m"}
