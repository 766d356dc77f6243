"""The recorded streams of ``tests/transcripts``: what was sent, what its YAML says, what leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sidecar.core.policy import Policy, Reasoning, ToolCalls
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from tests.promises import CATALOGUE, run

FOLDER = Path(__file__).resolve().parent.parent / "transcripts"

DEFAULT = Policy()
TOOLS_DECLARED = Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.DECLARED)


@dataclass(frozen=True)
class Recording:
    """One recording and the words of its YAML. ``ends`` is ``done`` or ``error``."""

    path: Path
    about: str
    declares: tuple[str, ...]
    visible: dict[int, str]
    reasoning: dict[int, str]
    finish: dict[int, str]
    ends: str
    formats: tuple[str, ...]
    phases: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def sent(self) -> bytes:
        return self.path.read_bytes()

    @property
    def golden_path(self) -> Path:
        return self.path.with_suffix(".golden.sse")

    @property
    def golden(self) -> bytes:
        return self.golden_path.read_bytes()

    @property
    def untouched(self) -> bool:
        """Whether it says of itself that nothing in it is to be changed."""
        return "byte-identical" in self.about

    @property
    def policy(self) -> Policy:
        """That of the built-in rule that such a request meets."""
        return TOOLS_DECLARED if self.declares else DEFAULT

    def chat(self, policy: Policy | None = None) -> Chat:
        """A fresh wire for it."""
        policy = policy or self.policy
        vocabulary = _vocabulary(self.formats, policy)
        return Chat(Ruling(policy, vocabulary, frozenset(self.declares)))

    def filtered(self, pieces: Iterable[bytes] | None = None) -> bytes:
        """What leaves if it arrives in ``pieces``, or whole."""
        return run(self.chat(), [self.sent] if pieces is None else pieces)


def recordings() -> Iterator[Recording]:
    """All of them, by name."""
    for path in sorted(FOLDER.glob("*.yaml")):
        said: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        said["declares"] = tuple(said["declares"])
        said["formats"] = tuple(said["formats"])
        said["phases"] = tuple(said["phases"])
        yield Recording(path=path.with_suffix(".sse"), **said)


@cache
def _vocabulary(formats: tuple[str, ...], policy: Policy) -> Vocabulary:
    return Vocabulary(CATALOGUE.resolve(formats), policy)
