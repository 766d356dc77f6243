"""How long a client waits for its first visible byte while upstream is silent."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from statistics import median

from tests.bench import loop
from tests.bench.processes import pin_load, sidecar_command, started, usable

BUDGET = 0.2
"""Seconds: 'first_after' of the built-in rule for people."""

_BODY = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "?"}]})
_REQUEST = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
).encode()
_CHUNK = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}\n\n'
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    + _CHUNK
    + b"data: [DONE]\n\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--silence", type=float, default=3.0, help="seconds until it answers")
    parser.add_argument("--rounds", type=int, default=5, help="requests, one after another")


def run(arguments: argparse.Namespace) -> int:
    """Measure the real command, print the times; the exit code."""
    if why := usable():
        print(why, file=sys.stderr)
        return 2
    waits = loop.run(_measure(arguments.silence, arguments.rounds))
    print(f"upstream is silent for {arguments.silence:g} s, the budget is {BUDGET * 1000:.0f} ms")
    print(f"{'':24} {'median ms':>10} {'range ms':>16}")
    for number, what in enumerate(("first visible byte", "first text of the answer")):
        times = [wait[number] * 1000 for wait in waits]
        print(f"{what:24} {median(times):10.1f} {f'{min(times):.1f} to {max(times):.1f}':>16}")
    return 0


async def _measure(silence: float, rounds: int) -> list[tuple[float, float]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"POST"):
            await asyncio.sleep(silence)
            writer.write(_ANSWER)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    with started("sidecar", sidecar_command, upstream) as proxy:
        pin_load()
        waits = [await _wait(proxy.port) for _ in range(rounds + 1)]
    server.close()
    return waits[1:]  # The first one warms up.


async def _wait(port: int) -> tuple[float, float]:
    """Seconds to the first status and to the first text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started_at = time.perf_counter()
    writer.write(_REQUEST)
    told = 0.0
    while line := await reader.readline():
        if b"Thinking" in line:
            told = told or time.perf_counter() - started_at
        if b"Hello" in line:
            break
    said = time.perf_counter() - started_at
    writer.close()
    return told, said
