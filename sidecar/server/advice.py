"""What an operator is told of a model whose prompt opens the reasoning, and which no rule knows."""

from __future__ import annotations

import logging
import re

log = logging.getLogger("sidecar")

MAX_MODELS = 1024
"""Models that are told of; a client may make up any number of names."""

_MODEL = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
"""The names that are told: they can be nothing but a name, in a log as in the rule."""


class Advice:
    """Tells of each model once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def orphan_closer(self, model: str) -> None:
        """``model``, as the client calls it, closed reasoning that nothing had opened."""
        if model in self._told or len(self._told) >= MAX_MODELS or not _MODEL.fullmatch(model):
            return
        self._told.add(model)
        log.warning(
            'model "%s" closed reasoning that it never opened; if its prompt opens it, '
            'add a rule: {match: {model: "%s"}, starts_in: reasoning}',
            model,
            model,
        )
