"""Every form in every wire format that lists it, and what each looks like on the wire."""

from __future__ import annotations

import pytest

from sidecar.core.progress import Phase
from sidecar.core.sources import Source
from sidecar.core.sse import event
from sidecar.core.status import Form, Status
from sidecar.dialects import DIALECTS
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from tests.wire.adapters import compact

from .check import Told, check_dialect, stream

PAIRS = [
    pytest.param(form, wire_format, id=f"{form}-{wire_format.name}")
    for wire_format in WIRE_FORMATS
    for form in wire_format.forms
    if form is not Form.OFF
]


def test_every_form_has_a_dialect_and_every_format_a_default() -> None:
    assert set(DIALECTS) == set(Form) - {Form.AUTO, Form.OFF}
    defaults = {each.name: each.forms[0].value for each in WIRE_FORMATS}
    assert defaults == {
        "chat": "chunk",
        "completions": "chunk",
        "responses": "comment",
        "messages": "chunk",
        "ollama_chat": "off",
        "ollama_generate": "off",
    }


@pytest.mark.parametrize(("form", "wire_format"), PAIRS)
def test_it_passes_the_suite(form: Form, wire_format: WireFormat) -> None:
    check_dialect(form, wire_format)


STATUS = Status(Phase.CALLING_TOOL, "Calling x…", "x", None, 3, 1234)
SOURCE = Status(Phase.SOURCES, "T", "", Source("T", "https://e.example/"), 4, 5)
ENVELOPE = '"id":"chatcmpl-seed","object":"chat.completion.chunk","created":1800000000,'
EMPTY = '"model":"asked","choices":[{"index":0,"delta":{},"finish_reason":null}]'
PAYLOAD = '{"phase":"calling_tool","text":"Calling x…","tool":"x","seq":3,"elapsed_ms":1234}'


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (
            Form.CHUNK,
            f'data: {{{ENVELOPE}{EMPTY},"sidecar":{{"status":{PAYLOAD}}}}}\n\n',
        ),
        (Form.COMMENT, f": status {PAYLOAD}\n"),
        (Form.EVENT, f"event: status\ndata: {PAYLOAD}\n\n"),
        (
            Form.REASONING,
            f'data: {{{ENVELOPE}"model":"asked","choices":[{{"index":0,"delta":'
            '{"reasoning_content":"Calling x…\\n"},"finish_reason":null}]}\n\n',
        ),
        (
            Form.CONTENT,
            f'data: {{{ENVELOPE}"model":"asked","choices":[{{"index":0,"delta":'
            '{"content":"Calling x…\\n\\n"},"finish_reason":null}]}\n\n',
        ),
        (
            Form.OPEN_WEBUI,
            f'data: {{{ENVELOPE}{EMPTY},"event":{{"type":"status","data":'
            '{"description":"Calling x…","done":false}}}\n\n',
        ),
        (Form.TYPED, 'data: {"type":"status","content":"Calling x…"}\n\n'),
    ],
)
def test_a_status_on_the_wire(form: Form, written: str) -> None:
    chat = Told(WIRE_FORMATS[0], None).wire
    assert DIALECTS[form](STATUS, chat).decode() == written.replace("…", "\\u2026")


def test_the_signs_of_life_that_the_other_formats_carry_a_status_in() -> None:
    found = {each.name: Told(each, None).wire.carry({"sidecar": 1}) for each in WIRE_FORMATS}
    # Two SDK helpers take nothing before the response was announced.
    assert found["responses"] == b""
    [responses] = [each for each in WIRE_FORMATS if each.name == "responses"]
    announced = Told(responses, None)
    announced.run([stream(responses)])
    found["responses"] = announced.wire.carry({"sidecar": 1})
    assert found["responses"] == b'event: keepalive\ndata: {"type":"keepalive","sidecar":1}\n\n'
    assert found["messages"] == b'event: ping\ndata: {"type":"ping","sidecar":1}\n\n'
    assert b'"choices":[{"index":0,"text":"","logprobs":null,' in found["completions"]
    assert found["ollama_chat"] == (
        b'{"model":"asked","created_at":"2027-01-15T08:00:00.500000+00:00",'
        b'"message":{"role":"assistant","content":""},"done":false,"sidecar":1}\n'
    )


def test_a_source_is_told_with_its_title_and_url() -> None:
    chat = Told(WIRE_FORMATS[0], None).wire
    said = b'"source":{"title":"T","url":"https://e.example/"}'
    for form in (Form.CHUNK, Form.COMMENT, Form.EVENT, Form.TYPED):
        assert said in DIALECTS[form](SOURCE, chat)


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda each: each.name)
def test_an_answer_that_fails_is_never_told_to_be_done(wire_format: WireFormat) -> None:
    """Its error is its end."""
    sent = stream(wire_format)
    form = next(each for each in wire_format.forms if each is not Form.OFF)
    for cut in range(0, len(sent) - 1, 7):
        told = Told(wire_format, form)
        left = told.run([sent[:cut]])
        if told.wire.stats.error is not None:
            assert b'"phase":"done"' not in left


def test_nothing_is_told_after_the_first_choice_has_finished() -> None:
    """The statuses are those of the first choice."""
    deltas: tuple[tuple[int, dict[str, str], str | None], ...] = (
        (1, {"role": "assistant", "reasoning_content": "hm"}, None),
        (0, {"role": "assistant", "content": "a"}, None),
        (0, {}, "stop"),
        (1, {"content": "b"}, None),
        (1, {}, "stop"),
    )
    said = [
        {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
        for index, delta, finish in deltas
    ]
    left = Told(WIRE_FORMATS[0], Form.COMMENT).run([event(compact(each).encode()) for each in said])
    told = [line for line in left.split(b"\n") if line.startswith(b": ")]
    assert [b"answering" in line for line in told] == [True, False]
    assert b'"phase":"done"' in told[-1]
