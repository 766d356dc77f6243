"""A request's body and the rule about it, if both can be read in only one way.

A rule is chosen by what we read; whoever answers reads for himself. Where the two could differ, a
client could have the one rule chosen and the other answer written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import unquote_plus

from sidecar.core.jsonmembers import KeyPath
from sidecar.core.jsontext import DuplicateKey, MalformedJSON, parse
from sidecar.rules.requestfields import DEFAULTS, EXTRA_BODY
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.server.inquiry import KEYS, Inquiry
from sidecar.server.replies import Refusal
from sidecar.wire.fields import Record

_KNOWN = {key for paths in KEYS.values() for path in paths for key in path} | set(DEFAULTS)
"""What a message may call by its name: any other may be part of a prompt."""


MAX_OTHER_MODELS = 32
"""Models that may answer in the stead of the first; OpenRouter takes three. Each is matched with
every rule."""


def read_record(body: bytes, query: str, wire_format: str) -> Record:
    """The value of a body. ``query`` is that of the target, and ``wire_format`` the name of the one
    that the answer will be in.

    Raises Refusal for a body that is not a JSON object; for a key that stands twice; for a key that
    a rule goes by in upper case, in the query or in what a gateway merges into the body; and for a
    ``stream`` that some servers take for true, and others for a mistake.
    """
    record = _object(body)
    keys = _TREES[wire_format]
    _in_lower_case(record, keys)
    extra = record.get(EXTRA_BODY)
    for key in extra if isinstance(extra, dict) else ():
        if key.casefold() in keys:
            raise _ambiguous(f"must stand beside {EXTRA_BODY}, not in it", key)
    for pair in re.split("[&;]", query):
        key = unquote_plus(pair.partition("=")[0])
        if key.casefold() in keys:
            # LiteLLM's model, in the query, is a deployment's as in Azure's paths.
            raise _ambiguous("must stand in the body, not in the query", key)
    stream = record.get("stream")
    if not (stream is None or isinstance(stream, bool)):
        raise _ambiguous("must be true or false", "stream")
    return record


def the_rule(rules: RuleSet, inquiry: Inquiry) -> Rule | None:
    """The rule about a request, None if nothing of its answer is to be touched. Raises Refusal if
    it depends on which of its models answers."""
    rule = rules.choose(inquiry.facts)
    if len(inquiry.other_models) > MAX_OTHER_MODELS:
        raise Refusal(
            400, "bad_request", f"A request may name up to {MAX_OTHER_MODELS} other models."
        )
    for model in inquiry.other_models:
        if rules.choose(replace(inquiry.facts, model=model)) is not rule:
            raise Refusal(
                400,
                "bad_request",
                "The models that the request names are under different rules; ask for one of them.",
            )
    return rule


def _object(body: bytes) -> Record:
    try:
        value = parse(body).value
    except MalformedJSON as error:
        what = str(error)
        if isinstance(error, DuplicateKey) and error.key in _KNOWN:
            what = f"the key '{error.key}' stands twice"
        raise Refusal(400, "invalid_json", f"The request body is not valid JSON: {what}.") from None
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_json", "The request body must be a JSON object.")
    return value


class _Keys(dict[str, "_Keys"]):
    """Keys of an object, each with those of what it may hold."""

    @classmethod
    def of(cls, paths: Iterable[KeyPath]) -> _Keys:
        """Those with these paths."""
        tree = cls()
        for path in paths:
            keys = tree
            for key in path:
                keys = keys.setdefault(key, cls())
        return tree


_TREES = {name: _Keys.of(paths) for name, paths in KEYS.items()}


def _in_lower_case(record: Record, keys: _Keys) -> None:
    """Servers in Go (Ollama) and in .NET take a key in any case, and the last of several."""
    for key, value in record.items():
        plain = key.casefold()
        if plain not in keys:
            continue
        if key != plain:
            raise _ambiguous("must be written in lower case", key)
        if isinstance(value, dict):
            _in_lower_case(value, keys[plain])


def _ambiguous(what: str, key: str) -> Refusal:
    return Refusal(400, "bad_request", f"The request field '{key.casefold()}' {what}.")
