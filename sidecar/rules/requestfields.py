"""What becomes of the fields of a request's body: the table with a default for each, and the
``request_fields`` of a rule, which override it.

A field is named by its key, or by the keys that lead to it through objects, with dots. Upper and
lower case are one: servers in Go and .NET read a key in any. What stands in ``extra_body`` counts
as if it stood beside it, because LiteLLM and its like put it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator

from sidecar.core.jsonmembers import KeyPath

EXTRA_BODY: Final = "extra_body"
"""The object whose members a gateway puts beside it (https://docs.litellm.ai, "Provider-specific
params")."""

MAX_NAME: Final = 128
"""Characters of a field's name; those of real APIs have less than 40."""


class FieldAction(StrEnum):
    """What becomes of a field of a request."""

    REFUSE = "refuse"
    """The request is answered with an error that names it."""
    DROP = "drop"
    """It is cut out of the body; upstream does not see it."""
    PASS = "pass"


# --- the table ----------------------------------------------------------------------------------

REDIRECTING: Final = (
    # LiteLLM (https://docs.litellm.ai/docs/proxy/clientside_auth, and what its proxy bans by now):
    # another host, other credentials, other headers, another deployment.
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "azure_ad_token",
    "custom_llm_provider",
    "deployment_id",
    "extra_headers",
    "headers",
    "litellm_credential_name",
    "litellm_params",
    "model_list",
    "user_config",
    "aws_bedrock_runtime_endpoint",
    "aws_role_name",
    "aws_sts_endpoint",
    "aws_web_identity_token",
    "deployment_url",
    "s3_endpoint_url",
    "sagemaker_base_url",
    "vertex_credentials",
    # Where it logs to: the answer as the model wrote it.
    "langfuse_host",
    "posthog_api_url",
    "metadata.langfuse_host",
    "metadata.posthog_api_url",
    "litellm_metadata.langfuse_host",
    "litellm_metadata.posthog_api_url",
)
"""They choose who is asked, or as whom: that is what the configuration is for. No client of a
model server has a use for them, so that the one who sends them is told."""

REPEATING: Final = (
    "echo",  # vLLM, in chat: the message before
    "prompt_logprobs",
    "return_prompt_text",
    "return_token_ids",  # and SGLang
    "return_tokens_as_token_ids",
    "return_hidden_states",  # SGLang
    "return_meta_info",
    "return_prompt_token_ids",
    "return_routed_experts",
    "return_tokens",  # llama.cpp
    "verbose",
    "debug",  # OpenRouter
    "raw_output",  # Fireworks
)
"""They make a server say again what is hidden, or the prompt, in which stands what was hidden in
the rounds before. It would be taken out of the answer anyway: what is not asked for cannot be
forgotten there. Nothing else of the answer depends on them."""

RENDERING: Final = ("_debug_render_only",)  # Ollama
"""The answer would be the prompt alone, which is hidden, and nothing would be left."""

BY_OPTION: Final = (
    # The alternatives to hidden tokens go with them, but those to visible ones stay.
    "logprobs",
    "logprob_token_ids",
    "top_logprobs",
    # The tokens that a marker is made of, left out of the text or written with spaces in them.
    "skip_special_tokens",
    "spaces_between_special_tokens",
    # The prompt: a template of the client's own may open a region, or have the model write it in
    # other markers, or in none.
    "chat_template",
    "chat_template_kwargs",
    "template",  # Ollama
    "add_generation_prompt",
    "continue_final_message",
    # A marker that the model is kept from writing, or at which it stops.
    "allowed_token_ids",
    "bad_words",
    "custom_logit_processor",
    "logit_bias",
    "stop",
    "stop_regex",
    "stop_token_ids",
    # A shape of the answer in which reasoning is a value like any other.
    "ebnf",
    "grammar",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "regex",
    "response_format",
    "structured_outputs",
    # Where the server puts reasoning: into fields, into the text, or nowhere.
    "include_reasoning",
    "reasoning_format",
    "separate_reasoning",
    # Where it fetches a prompt that it need not compute again; set by a router between us and it.
    "bootstrap_host",
    "kv_transfer_params",
)
"""What it is worth to somebody who cannot do without one of them is the operator's to judge."""

DEFAULTS: Final[Mapping[str, FieldAction]] = (
    dict.fromkeys((*REDIRECTING, *RENDERING), FieldAction.REFUSE)
    | dict.fromkeys(REPEATING, FieldAction.DROP)
    | dict.fromkeys(BY_OPTION, FieldAction.PASS)
)

OF_WIRE_FORMAT: Final[Mapping[str, Mapping[str, FieldAction]]] = {
    # There it is part of the API, repeats the request's own prompt, and the engine reads it.
    "completions": {"echo": FieldAction.PASS},
}
"""By the name of a wire format, in what its defaults are others."""


# --- what a rule makes of it --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldTable:
    """For the requests of one wire format under one rule: what becomes of a field, by its keys in
    lower case, and the keys of the objects in which there are any."""

    actions: Mapping[KeyPath, FieldAction]
    objects: frozenset[KeyPath]


def field_table(wire_format: str, own: Mapping[str, FieldAction]) -> FieldTable:
    """The table of a rule whose ``request_fields`` are ``own``."""
    named = {**DEFAULTS, **OF_WIRE_FORMAT.get(wire_format, {}), **own}
    actions = {tuple(name.split(".")): action for name, action in named.items()}
    extra = {(EXTRA_BODY, *path): action for path, action in actions.items()}
    actions = extra | actions
    objects = {path[:length] for path in actions for length in range(1, len(path))}
    return FieldTable(actions, frozenset(objects))


# --- how it is written --------------------------------------------------------------------------


def _named(fields: dict[str, FieldAction]) -> dict[str, FieldAction]:
    for name in fields:
        if len(name) > MAX_NAME or not name.isprintable() or not all(name.split(".")):
            raise ValueError(
                "expected names of fields such as logprobs or chat_template_kwargs.thinking, "
                f"not {name[:MAX_NAME]!r}"
            )
    folded = {name.casefold(): action for name, action in fields.items()}
    if len(folded) < len(fields):
        raise ValueError("found a field twice, expected it once: upper and lower case are one")
    return folded


RequestFields: TypeAlias = Annotated[dict[str, FieldAction], AfterValidator(_named)]
