"""Answers that are packed, though nobody asked for it: undone within bounds, or refused."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    chat,
    document,
    framed,
    response,
    stream_head,
    text,
)

from .verdicts import COMPLETED, SECRET, Ended, Told, broken, complete, refused, watched

BEFORE = ROLE + text(f"<think>{SECRET}</think>") + text("shown")
STREAM = BEFORE + FINISH + DONE
DOCUMENT = document({"content": f"<think>{SECRET}</think>shown"})


def deflated(data: bytes) -> bytes:
    """Without zlib's wrapping, as old servers and some new ones do."""
    return zlib.compress(data)[2:-4]


def members(data: bytes) -> bytes:
    """As two gzip members, which are one text (RFC 1952, 2.2)."""
    return gzip.compress(data[:20]) + gzip.compress(data[20:])


def twice(data: bytes) -> bytes:
    """A package in a package."""
    return gzip.compress(gzip.compress(data))


UNDONE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip-in-capitals": ("GZIP", gzip.compress),
    "gzip-members": ("gzip", members),
    "gzip-without-its-trailer": ("gzip", lambda data: gzip.compress(data)[:-8]),
    "deflate": ("deflate", zlib.compress),
    "raw-deflate": ("deflate", deflated),
    "identity": ("identity", bytes),
    "nothing": ("", bytes),
}
REFUSED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "unknown": (SECRET, bytes),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip-twice": ("gzip, gzip", twice),
    "gzip-in-two-fields": ("gzip\r\nContent-Encoding: gzip", twice),
    "gzip-and-identity": ("gzip, identity", gzip.compress),
    "aes128gcm": ("aes128gcm", bytes),
    "none": ("none", bytes),
    "utf-8": ("utf-8", bytes),
    # With the packages that they need, they are broken.
    "br": ("br", bytes),
    "zstd": ("zstd", bytes),
}
BROKEN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "not-gzip": ("gzip", bytes),
    "not-deflate": ("deflate", lambda data: b"\xff" + data),
    "gzip-in-gzip": ("gzip", twice),
    "unannounced": ("", gzip.compress),
    "empty-gzip": ("gzip", lambda _: b""),
    "gzip-of-nothing": ("gzip", lambda _: gzip.compress(b"")),
    "gzip-cut": ("gzip", lambda data: gzip.compress(data)[:20]),
}


def in_events(coding: str, body: bytes) -> bytes:
    """A whole response with an event stream."""
    fields = [f"Content-Encoding: {coding}"] if coding else []
    return stream_head(*fields) + (framed(body) if body else b"") + LAST


def in_a_document(coding: str, body: bytes) -> bytes:
    """A whole response with a document."""
    fields = [f"Content-Encoding: {coding}"] if coding else []
    return response("200 OK", *fields, body=body)


async def asked(raw: bytes, told: Told, *, stream: bool) -> tuple[Answer, Ended]:
    """The answer to a chat request whose upstream answers ``raw``, and how it ended."""
    async with watched(first_byte=2.0, idle=2.0) as rig:
        rig.upstream.reply(raw)
        return await rig.ask(chat(stream=stream)), await told.one(rig)


@pytest.mark.parametrize("name", UNDONE)
async def test_it_is_undone(name: str, told: Told) -> None:
    """And filtered all the same, as a stream and as a document."""
    coding, pack = UNDONE[name]
    answer, how = await asked(in_events(coding, pack(STREAM)), told, stream=True)
    complete(answer, "shown")
    assert answer.head.one("Content-Encoding") is None
    assert how == COMPLETED
    answer, how = await asked(in_a_document(coding, pack(DOCUMENT)), told, stream=False)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "shown"
    assert answer.head.one("Content-Encoding") is None
    assert how == COMPLETED


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused(name: str, told: Told) -> None:
    """What may be undone in another way, or not at all, is not looked at."""
    coding, pack = REFUSED[name]
    answer, how = await asked(in_a_document(coding, pack(DOCUMENT)), told, stream=False)
    refused(answer, 502, "upstream_malformed")
    assert how == Ended("upstream_error", "upstream_malformed")
    answer, how = await asked(in_events(coding, pack(STREAM)), told, stream=True)
    assert how.error is not None
    if answer.status == 200:  # the first field says what it is not
        broken(answer, "", how.error)
    else:
        refused(answer, 502, how.error)


@pytest.mark.parametrize("name", BROKEN)
async def test_it_is_not_what_it_says(name: str, told: Told) -> None:
    """An error, and not a byte of it."""
    coding, pack = BROKEN[name]
    answer, how = await asked(in_a_document(coding, pack(DOCUMENT)), told, stream=False)
    assert how.error in ("upstream_malformed", "upstream_incomplete")
    refused(answer, 502, how.error)
    answer, how = await asked(in_events(coding, pack(STREAM)), told, stream=True)
    assert how.error is not None
    if answer.status == 200:
        broken(answer, "", how.error)
    else:  # it was broken before its head was handed on
        refused(answer, 502, how.error)


@pytest.mark.parametrize("end", [LAST, b""], ids=["ended", "died"])
async def test_a_packed_stream_that_is_cut(end: bytes, told: Told) -> None:
    """What was undone is delivered, and the rest is missed."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(BEFORE) + packer.flush(zlib.Z_SYNC_FLUSH)
    raw = stream_head("Content-Encoding: gzip") + framed(packed) + end
    answer, how = await asked(raw, told, stream=True)
    broken(answer, "shown", "upstream_incomplete")
    assert how == Ended("upstream_incomplete", "upstream_incomplete")


def bomb(first: bytes) -> bytes:
    """Thirty megabytes in thirty kilobytes, behind ``first``."""
    packer, block = zlib.compressobj(wbits=31), b"x" * 1_000_000
    packed = packer.compress(first) + b"".join(packer.compress(block) for _ in range(30))
    return packed + packer.flush()


@pytest.mark.parametrize(
    ("first", "code"),
    [(b"data: ", "upstream_event_too_large"), (b"data: {}\n\ndata: ", "upstream_event_too_large")],
    ids=["at-once", "after-an-event"],
)
async def test_a_bomb_in_a_stream(first: bytes, code: str, told: Told) -> None:
    """It is an event over the limit, and undone no further than that."""
    answer, how = await asked(in_events("gzip", bomb(first)), told, stream=True)
    broken(answer, "", code)
    assert how == Ended("upstream_incomplete", code)
    assert b"xxxx" not in answer.body


async def test_a_bomb_in_a_document(told: Told) -> None:
    """It is an answer over the limit."""
    answer, how = await asked(in_a_document("gzip", bomb(b'{"x":"')), told, stream=False)
    refused(answer, 502, "upstream_answer_too_large")
    assert how == Ended("upstream_error", "upstream_answer_too_large")


async def test_a_bomb_in_an_error(told: Told) -> None:
    """It is an error whose words are ours."""
    raw = response("400 Bad", "Content-Encoding: gzip", body=bomb(b'{"error":{"message":"'))
    answer, how = await asked(raw, told, stream=False)
    refused(answer, 400, "upstream_error")
    assert how == Ended("upstream_error", "upstream_error")


async def test_a_bomb_that_only_passes() -> None:
    """It is the client's to undo, or not to."""
    packed = bomb(b"")
    async with watched() as rig:
        rig.upstream.reply(response("200 OK", "Content-Encoding: gzip", body=packed))
        answer = await rig.ask(chat(path="/v1/embeddings"))
    assert answer.body == packed
    assert answer.head.one("Content-Encoding") == "gzip"
