"""What the demo says of one round: what was hidden, what was shown, and what went wrong.

Pure: readings in, text out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby, zip_longest
from operator import itemgetter
from typing import Final, NamedTuple

from sidecar.core.channel import Channel
from sidecar.demo.reading import Reading
from sidecar.demo.transcripts import QUESTION, THINK, Transcript
from sidecar.terminal import Column, Span

_EXCERPT: Final = 56


class Round(NamedTuple):
    """One transcript, asked for twice at the same moment: at the upstream, and at the sidecar."""

    transcript: Transcript
    raw: Reading
    clean: Reading


def faults(round_: Round) -> list[str]:
    """What leaked, what was lost and who failed, one sentence each; empty if all is well."""
    transcript, raw, clean = round_
    received = clean.everything
    found = [f"the upstream failed: {raw.failure}"] if raw.failure else []
    if clean.failure:
        found.append(f"the sidecar failed: {clean.failure}")
    found += [f"leaked {phrase!r}" for phrase in transcript.phrases if phrase in received]
    found += [f"leaked the field {field!r}" for field in _fields(clean) if field != "content"]
    if clean.content != transcript.visible:
        found.append(_difference(clean.content, transcript.visible))
    if not clean.done:
        found.append("the stream has no end mark")
    return [f"{transcript.name}: {fault}" for fault in found]


def conclusion(rounds: Iterable[Round]) -> list[str]:
    """The last lines: all the faults, or that there is none."""
    found = [fault for round_ in rounds for fault in faults(round_)]
    return found or ["nothing leaked"]


def summary(round_: Round, *, shown: bool) -> list[str]:
    """What was hidden, what was shown (the text itself if ``shown``), and the two times."""
    transcript, raw, clean = round_
    lines = [f"{transcript.name}: {transcript.description}"]
    lines += [f"  hidden  {line}" for line in _hidden(round_)] or ["  hidden  nothing"]
    if clean.statuses:
        lines.append(f"  told    {' '.join(clean.statuses)}")
    if shown:
        lines.append(f"  shown   {textwrap.indent(clean.content, ' ' * 10).lstrip()}")
    first_byte, first_text = _duration(raw.first_byte), _duration(clean.first_text)
    lines.append(f"  times   first byte of the raw stream {first_byte},")
    if clean.first_status is not None:
        lines.append(f"          first status {_duration(clean.first_status)},")
    lines.append(f"          first visible text of the clean stream {first_text}")
    return lines


def sides(round_: Round) -> tuple[Column, Column]:
    """The two streams as they are so far, what the reader will not see dimmed."""
    left = Column("what the model sends", tuple(_raw_spans(round_)))
    told = "".join(f"{text}\n" for text in round_.clean.statuses)
    right = (Span(told and f"{told}\n", dim=True), Span(round_.clean.content))
    return left, Column("what the client sees", right)


def how_to_call(sidecar: str, upstream: str, playground: str) -> list[str]:
    """How a client of one's own calls the sidecar at base URL ``sidecar``, and where a browser
    shows the same."""
    body = f'{{"model": "{THINK.model}", "stream": true, "messages": '
    body += f'[{{"role": "user", "content": "{QUESTION}"}}]}}'
    return [
        f"See it in a browser: {playground}",
        "",
        "Call it yourself, with curl:",
        "",
        f"    curl -N {sidecar}/chat/completions -H 'Content-Type: application/json' \\",
        f"      -d '{body}'",
        "",
        "or with an OpenAI client:",
        "",
        "    import openai",
        f'    client = openai.OpenAI(base_url="{sidecar}", api_key="demo")',
        f'    messages = [{{"role": "user", "content": "{QUESTION}"}}]',
        "    for chunk in client.chat.completions.create(",
        f'        model="{THINK.model}", stream=True, messages=messages',
        "    ):",
        '        print(chunk.choices[0].delta.content or "", end="", flush=True)',
        "",
        f"Without the sidecar, the same answers are at {upstream}",
        "Ctrl-C ends it.",
    ]


def _fields(reading: Reading) -> list[str]:
    return list(dict.fromkeys(field for field, _ in reading.pieces))


def _difference(seen: str, expected: str) -> str:
    pairs = enumerate(zip_longest(seen, expected))
    at = next(index for index, (found, wanted) in pairs if found != wanted)
    found, wanted = seen[at : at + _EXCERPT], expected[at : at + _EXCERPT]
    return f"the visible text differs from character {at} on: {found!r} instead of {wanted!r}"


def _hidden(round_: Round) -> Iterator[str]:
    texts: dict[Channel, list[str]] = {}
    received = round_.clean.everything
    for channel, text in round_.transcript.hidden:
        if text not in received:
            texts.setdefault(channel, []).append(text)
    for channel, parts in texts.items():
        text = "".join(parts)
        excerpt = " ".join(text.split())[:_EXCERPT]
        yield f"{len(text):>4} characters of {channel.replace('_', ' ')}: {excerpt}..."


def _raw_spans(round_: Round) -> Iterator[Span]:
    visible, content = round_.transcript.visible, round_.transcript.content
    start = content.index(visible)
    end = start + len(visible)
    fields = _fields(round_.raw)
    for field, pieces in groupby(round_.raw.pieces, key=itemgetter(0)):
        text = "".join(text for _, text in pieces)
        if field != "content":
            yield Span(f"[{field}] {text}\n\n", dim=True)
            continue
        if fields != ["content"]:
            yield Span("[content] ", dim=True)
        yield from (Span(text[:start], dim=True), Span(text[start:end]), Span(text[end:], dim=True))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "never came"
    return f"after {seconds:.2f} s" if seconds >= 1 else f"after {seconds * 1000:.0f} ms"
