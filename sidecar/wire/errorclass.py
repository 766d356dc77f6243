"""What kind of error an upstream reports, and our own sentence for each kind.

Servers agree on statuses only in part, and on names not at all: one error is
``context_length_exceeded`` (OpenAI), ``exceed_context_size_error`` (llama.cpp),
``ContextWindowExceededError`` (LiteLLM), or only a message under a plain 400 (vLLM, Ollama).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

from sidecar.wire.fields import Record


class ErrorClass(Enum):
    """A kind of error that a client may want to tell from the others."""

    CONTEXT_LENGTH = auto()
    RATE_LIMIT = auto()
    QUOTA = auto()
    AUTHENTICATION = auto()
    PERMISSION = auto()
    MODEL_NOT_FOUND = auto()
    CONTENT_FILTER = auto()
    INVALID_PARAMETER = auto()
    TOO_LARGE = auto()
    TIMEOUT = auto()
    SERVER = auto()
    """It failed, or is overloaded."""
    OTHER = auto()


_SENTENCES = {
    ErrorClass.CONTEXT_LENGTH: "The request and its answer are longer than the model's context.",
    ErrorClass.RATE_LIMIT: "There were too many requests; try again later.",
    ErrorClass.QUOTA: "The quota or the credit of the account is used up.",
    ErrorClass.AUTHENTICATION: "The API key is missing, or was not accepted.",
    ErrorClass.PERMISSION: "The API key does not permit this request.",
    ErrorClass.MODEL_NOT_FOUND: "The model does not exist, or is not served here.",
    ErrorClass.CONTENT_FILTER: "A content filter stopped the request or its answer.",
    ErrorClass.INVALID_PARAMETER: "The upstream server did not accept the request.",
    ErrorClass.TOO_LARGE: "The request is too large for the upstream server.",
    ErrorClass.TIMEOUT: "The upstream server did not answer in time.",
    ErrorClass.SERVER: "The upstream server failed or is overloaded; try again later.",
    ErrorClass.OTHER: "The upstream server reported an error.",
}

# Names as they are once case, punctuation and a final "error" are gone.
_NAMES = {
    ErrorClass.CONTEXT_LENGTH: (
        "contextlengthexceeded",
        "contextwindowexceeded",
        "exceedcontextsize",
        "modelcontextwindowexceeded",
    ),
    ErrorClass.RATE_LIMIT: (
        "ratelimit",
        "ratelimitexceeded",
        "resourceexhausted",
        "throttling",
        "toomanyrequests",
    ),
    ErrorClass.QUOTA: (
        "billing",
        "billinghardlimitreached",
        "billingnotactive",
        "budgetexceeded",
        "insufficientbalance",
        "insufficientcredits",
        "insufficientquota",
        "paymentrequired",
        "quotaexceeded",
    ),
    ErrorClass.AUTHENTICATION: (
        "authentication",
        "invalidapikey",
        "invalidauthentication",
        "unauthenticated",
        "unauthorized",
    ),
    ErrorClass.PERMISSION: ("accessdenied", "forbidden", "permission", "permissiondenied"),
    ErrorClass.MODEL_NOT_FOUND: ("deploymentnotfound", "modelnotfound", "notfound"),
    ErrorClass.CONTENT_FILTER: (
        "contentfilter",
        "contentpolicyviolation",
        "moderationblocked",
        "responsibleaipolicyviolation",
    ),
    ErrorClass.TOO_LARGE: (
        "contenttoolarge",
        "payloadtoolarge",
        "requestentitytoolarge",
        "requesttoolarge",
    ),
    ErrorClass.TIMEOUT: (
        "apitimeout",
        "deadlineexceeded",
        "gatewaytimeout",
        "requesttimeout",
        "timeout",
    ),
    ErrorClass.SERVER: ("overloaded", "modeloverloaded", "serviceunavailable", "unavailable"),
}
"""The names that say it all. ``server_error``, ``BadRequestError`` and their like are not among
them: under those names servers report everything."""
_BY_NAME = {name: found for found, names in _NAMES.items() for name in names}

_BY_STATUS = {
    401: ErrorClass.AUTHENTICATION,
    402: ErrorClass.QUOTA,
    403: ErrorClass.PERMISSION,
    404: ErrorClass.MODEL_NOT_FOUND,
    408: ErrorClass.TIMEOUT,
    413: ErrorClass.TOO_LARGE,
    429: ErrorClass.RATE_LIMIT,
    503: ErrorClass.SERVER,
    504: ErrorClass.TIMEOUT,
    529: ErrorClass.SERVER,
}
"""The statuses that say it all."""

_PHRASES = {
    ErrorClass.CONTEXT_LENGTH: (
        "context length",  # OpenAI, vLLM, SGLang, Ollama
        "context limit",  # Anthropic
        "context size",  # llama.cpp
        "context window",  # OpenAI, llama-cpp-python
        "contextwindowexceeded",  # LiteLLM
        "input is too long",  # Bedrock
        "input token count exceeds",  # Gemini
        "input tokens exceed",  # Azure
        "maximum model length",  # vLLM
        "prompt is too long",  # Anthropic
        "reduce the length of",  # OpenAI, vLLM
        "tokens + `max_new_tokens`",  # TGI
    ),
    ErrorClass.QUOTA: (
        "credit balance",  # Anthropic
        "current quota",  # OpenAI
        "insufficient balance",  # DeepSeek
        "insufficient credits",  # OpenRouter
        "more credits",  # OpenRouter
    ),
    ErrorClass.CONTENT_FILTER: (
        "content filter",
        "content management policy",  # Azure
        "content policy",
        "contentpolicyviolation",  # LiteLLM
        "was flagged",  # OpenRouter
    ),
    ErrorClass.MODEL_NOT_FOUND: ("model not found", "no such model", "try pulling it first"),
    ErrorClass.AUTHENTICATION: ("api key", "x-api-key", "not authenticated"),
    ErrorClass.RATE_LIMIT: ("rate limit", "too many requests"),
    ErrorClass.TIMEOUT: ("timed out", "timeout"),
    ErrorClass.SERVER: (
        "loading model",  # llama.cpp
        "overloaded",
        "server busy",  # Ollama
    ),
}
"""What the messages of real servers say, the most telling first."""
_MODEL_NOT_FOUND = re.compile(r"\bmodel\b.{0,200}?(?:does not exist|not found)", re.DOTALL)

_TELLING = 2048
"""Characters of a message that are searched: what a server has to say stands first, and what it
quotes of the request comes after."""

_NO_NAME = re.compile(r"[^a-z]+")
_STATUS = re.compile(r"[45][0-9]{2}")


def classify(error: Any, status: int | None = None) -> ErrorClass:
    """The class of an upstream's ``error``, an object or a message, that came with the HTTP status
    ``status``; None in a stream, where the error may have one of its own."""
    fields: Record = error if isinstance(error, dict) else {"message": error}
    for name in _names(fields):
        squashed = _NO_NAME.sub("", name.lower())
        found = _BY_NAME.get(squashed) or _BY_NAME.get(squashed.removesuffix("error"))
        if found is not None:
            return found
    status = status or _status(fields)
    return _BY_STATUS.get(status) or _by_message(fields.get("message")) or _by_range(status)


def sentence(found: ErrorClass, param: str | None = None) -> str:
    """Our own message for an error of a class; ``param`` is what is wrong with the request."""
    if found is ErrorClass.INVALID_PARAMETER and param:
        return f"The upstream server did not accept the request's parameter {param}."
    return _SENTENCES[found]


def _names(fields: Record) -> Iterator[str]:
    """What an error calls itself, the most telling first."""
    inner = fields.get("innererror")  # Azure
    for record in (inner, fields) if isinstance(inner, dict) else (fields,):
        for key in ("code", "type", "status"):  # the last one is Gemini's
            name = record.get(key)
            if isinstance(name, str):
                yield name[:_TELLING]


def _status(fields: Record) -> int:
    """The HTTP status that an error says it is; 0 if it says none."""
    for key in ("code", "status", "http_status_code"):  # vLLM, LiteLLM (as a text); Azure; TGI
        value = fields.get(key)
        if isinstance(value, int | str) and _STATUS.fullmatch(str(value)):
            return int(value)
    return 0


def _by_message(message: Any) -> ErrorClass | None:
    if not isinstance(message, str):
        return None
    said = message[:_TELLING].lower()
    for found, phrases in _PHRASES.items():
        if any(phrase in said for phrase in phrases):
            return found
    return ErrorClass.MODEL_NOT_FOUND if _MODEL_NOT_FOUND.search(said) else None


def _by_range(status: int) -> ErrorClass:
    if status >= 500:
        return ErrorClass.SERVER
    return ErrorClass.INVALID_PARAMETER if status in (400, 422) else ErrorClass.OTHER
