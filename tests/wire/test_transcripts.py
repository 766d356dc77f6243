"""The recorded streams leave as the golden files beside them, however they arrive."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from tests.cuts import of_recording, units
from tests.promises import run
from tests.wire.recordings import DEFAULT, Recording, recordings
from tests.wire.streams import choices, payloads

ALL = list(recordings())

per_recording = pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
per_untouched_recording = pytest.mark.parametrize(
    "recording", [r for r in ALL if r.untouched], ids=lambda r: r.name
)

SECRET = re.compile(rb"zq|z\\u0071|\\u007aq|\\u007a\\u0071", re.IGNORECASE)


def test_there_is_a_recording_for_each_server_and_a_golden_file_for_each_recording() -> None:
    assert {r.name for r in ALL} == {path.stem for path in ALL[0].path.parent.glob("*.yaml")}
    assert all(r.golden_path.is_file() for r in ALL)
    servers = {r.name.split("-")[0] for r in ALL}
    assert servers >= {"openai", "azure", "vllm", "sglang", "llamacpp", "ollama", "openrouter"}
    assert servers >= {"deepseek", "mistral", "groq", "litellm"}


@per_recording
def test_it_leaves_as_the_golden_file_however_it_arrives(recording: Recording) -> None:
    sent, golden = recording.sent, recording.golden
    assert recording.filtered() == golden
    assert recording.filtered(units(sent)) == golden
    for pieces in of_recording(sent):
        assert recording.filtered(pieces) == golden


@per_recording
def test_a_strict_client_reads_what_the_recording_says(recording: Recording) -> None:
    left = payloads(recording.filtered())
    read = choices(left)
    assert {i: choice.text for i, choice in read.items()} == recording.visible
    errors = [value for value in left if value.get("error")]
    assert errors == (left[-1:] if recording.ends == "error" else [])


@per_recording
def test_nothing_hidden_is_in_any_byte_where_the_default_rule_applies(recording: Recording) -> None:
    left = run(recording.chat(DEFAULT), [recording.sent])
    assert SECRET.search(left) is None
    finishes = {i: choice.finishes for i, choice in choices(payloads(left)).items()}
    assert {i: reasons for i, reasons in finishes.items() if reasons} == {
        i: [reason] for i, reason in recording.finish.items()
    }


def test_the_call_that_is_declared_stays_alone_and_becomes_the_first() -> None:
    [recording] = [r for r in ALL if r.declares]
    read = choices(payloads(recording.filtered()))[0]
    assert [call["name"] for call in read.calls.values()] == list(recording.declares)
    assert list(read.calls) == [0]
    json.loads(read.calls[0]["arguments"])
    assert read.finishes == ["tool_calls"]


@per_untouched_recording
def test_where_nothing_is_hidden_the_bytes_stay(recording: Recording) -> None:
    assert recording.filtered() == recording.sent


@per_recording
def test_no_chunk_is_one_that_the_openai_package_does_not_know(recording: Recording) -> None:
    sent = recorded(recording)
    for value in payloads(recording.filtered()):
        if "error" in value:
            assert set(value["error"]) == {"message", "type", "code", "param"}
        elif value["choices"] or value not in sent:  # Azure's first chunk has no ``object``.
            validate(value)


def validate(value: Any) -> None:
    """By the types of the openai package, but for what servers send and every SDK accepts."""
    for item in value["choices"]:
        item.setdefault("finish_reason", None)  # xAI, LiteLLM
        content = item["delta"].get("content")
        if isinstance(content, list):  # Mistral
            item["delta"]["content"] = "".join(part["text"] for part in content)
    ChatCompletionChunk.model_validate(value)


def recorded(recording: Recording) -> list[Any]:
    """The chunks of a recording."""
    lines = [line for line in recording.sent.splitlines() if line.startswith(b"data:")]
    texts = [line.removeprefix(b"data:").strip() for line in lines]
    return [json.loads(text) for text in texts if text != b"[DONE]"]


@per_recording
def test_the_first_delta_of_a_choice_has_the_role(recording: Recording) -> None:
    for read in choices(payloads(recording.filtered())).values():
        assert read.roles[0] == "assistant"
        assert read.deltas[0]["role"] == "assistant"
        assert set(read.roles) == {"assistant"}


@per_recording
def test_the_answer_keeps_its_id_and_its_model(recording: Recording) -> None:
    sent = recorded(recording)
    known = {(value.get("id"), value.get("model")) for value in sent}
    left = [value for value in payloads(recording.filtered()) if "error" not in value]
    assert {(value.get("id"), value.get("model")) for value in left} <= known


@per_recording
def test_what_is_reasoning_is_counted_and_not_lost_without_a_trace(recording: Recording) -> None:
    chat = recording.chat()
    run(chat, [recording.sent])
    assert chat.stats.reasoning_seen is bool(recording.reasoning)
    counted = sum(n for (c, _), n in chat.stats.hidden_characters.items() if c == "reasoning")
    assert counted >= sum(map(len, recording.reasoning.values()))
