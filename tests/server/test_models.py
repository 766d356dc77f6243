"""Which models metrics call by their names, and how the sidecar learns them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from sidecar.rules.config import Config
from sidecar.rules.configvalues import MAX_MODELS, AccessLog
from sidecar.server import models
from sidecar.server.models import OTHER, Models, names_in
from sidecar.server.upstream import UpstreamClient

from .scripted import (
    DONE,
    FINISH,
    LIMIT,
    ROLE,
    Answer,
    Call,
    Rig,
    Upstream,
    chat,
    configured,
    framed,
    proxied,
    response,
    stream_head,
    streamed,
    text,
)
from .test_metrics import parsed, total

ANSWER = streamed(ROLE, text("a"), FINISH, DONE)


def listed(names: Iterable[Any], *, status: str = "200 OK") -> bytes:
    """Upstream's list of models."""
    data = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in names]
    return response(status, body=json.dumps({"object": "list", "data": data}).encode())


async def answered(rig: Rig, model: str) -> Answer:
    """The answer to a chat with ``model``, whose request is the next to come."""
    async with rig.call(chat(model=model)) as (client, call):
        assert call.request.target == "/v1/chat/completions"
        await call.send(ANSWER)
        answer = await client.answer()
    assert answer.status == 200
    return answer


async def question(rig: Rig) -> Call:
    """The question for upstream's models, which is the next request to come."""
    call = await rig.upstream.accept()
    assert call.request.start == "GET /v1/models HTTP/1.1"
    return call


async def told(call: Call, raw: bytes) -> None:
    """Answer a question with all there is; the sidecar has read what it wants of that."""
    with suppress(ConnectionError):
        await call.send(raw)
        call.writer.write_eof()
    await call.gone()


async def labels(rig: Rig) -> dict[str, float]:
    """Requests by what metrics call their models."""
    return {
        dict(of)["model"]: value
        for (name, of), value in parsed(await rig.scrape()).items()
        if name == "sidecar_requests_total"
    }


async def test_upstream_is_asked_once() -> None:
    """At first every model is another one; when upstream has answered, its names are labels."""
    async with proxied(models=None, api_key="the-key") as rig:
        await answered(rig, "m")
        call = await question(rig)
        assert call.request.all("Authorization") == ["Bearer the-key"]
        await answered(rig, "m")
        assert await labels(rig) == {OTHER: 2}
        await told(call, listed(["m", "org/n:7b"]))
        for model in ("m", "org/n:7b", "M", "m ", "x", "x"):
            await answered(rig, model)
        assert await labels(rig) == {"m": 1, "org/n:7b": 1, OTHER: 6}
        targets = [call.request.target for call in rig.upstream.calls]
        assert targets.count("/v1/models") == 1
        scrape = await rig.scrape()
    name = "sidecar_time_to_first_visible_token_seconds_count"
    assert total(scrape, name, model="m") == 1
    assert total(scrape, name, model=OTHER) == 6


async def test_the_clients_key_is_not_used() -> None:
    """Nothing of a client's request is in the question."""
    async with proxied(models=None) as rig:
        secrets = ("Authorization: Bearer SECRET", "x-api-key: SECRET", "Cookie: SECRET")
        async with rig.call(chat(*secrets, "traceparent: SECRET")) as (client, call):
            await call.send(ANSWER)
            await client.answer()
        asked = await question(rig)
        assert "SECRET" not in str(asked.request)
        assert asked.request.all("Authorization") == []
        assert await asked.request_body() == b""


@pytest.mark.parametrize("names", [(), ("m",)])
async def test_upstream_is_not_asked_if_the_names_are_configured(names: tuple[str, ...]) -> None:
    """They are labels from the beginning, and there are no others."""
    async with proxied(models=names) as rig:
        rig.upstream.reply(ANSWER)
        for model in ("m", "x", ""):
            assert (await rig.ask(chat(model=model))).status == 200
        found = await labels(rig)
        targets = {call.request.target for call in rig.upstream.calls}
    assert targets == {"/v1/chat/completions"}
    assert found == ({"m": 1, OTHER: 1, "none": 1} if names else {OTHER: 2, "none": 1})


NO_LISTS = {
    "empty": response("200 OK"),
    "no JSON": response("200 OK", body=b"<html>"),
    "no UTF-8": response("200 OK", body=b'{"data": [{"id": "\xff"}]}'),
    "deep": response("200 OK", body=b'{"data": ' + b"[" * 100_000),
    "a list": response("200 OK", body=b"[1, 2]"),
    "a number": response("200 OK", body=b'{"data": 7}'),
    "true": response("200 OK", body=b'{"data": true}'),
    "a text": response("200 OK", body=b'{"data": "m"}'),
    "an object": response("200 OK", body=b'{"data": {"id": "m"}}'),
    "nothing": response("200 OK", body=b'{"data": null}'),
    "odd items": response("200 OK", body=b'{"data": [1, "m", null, ["m"], {"id": ["m"]}, {}]}'),
    "an error": listed(["m"], status="500 Oops"),
    "no content": response("204 No", body=b""),
    "forbidden": listed(["m"], status="401 Who"),
    "elsewhere": response("302 There", "Location: http://127.0.0.1:9/", body=b""),
    "cut": listed(["m"])[:-1],
    "no HTTP": b"\x00\x01\r\n\r\n",
    "no gzip": response("200 OK", "Content-Encoding: gzip", body=b"xyz"),
}


@pytest.mark.parametrize("raw", NO_LISTS.values(), ids=NO_LISTS)
async def test_what_is_no_list_changes_nothing(raw: bytes) -> None:
    """Every model stays another one, requests go on, and nobody asks again."""
    async with proxied(models=None) as rig:
        await answered(rig, "m")
        await told(await question(rig), raw)
        for model in ("m", "x"):
            await answered(rig, model)
        assert await labels(rig) == {OTHER: 3}


async def test_a_connection_that_ends_changes_nothing() -> None:
    """The question is not asked again."""
    async with proxied(models=None) as rig:
        await answered(rig, "m")
        await told(await question(rig), b"")
        await answered(rig, "m")
        assert await labels(rig) == {OTHER: 2}


async def test_a_list_without_an_end_changes_nothing() -> None:
    """It is read up to a limit, and then no more."""
    async with proxied(models=None) as rig:
        await answered(rig, "m")
        call = await question(rig)
        await call.send(stream_head(content_type="application/json"), framed(b'{"data": ['))
        piece = framed(b'{"id": "m"},' * 10_000)
        with suppress(ConnectionError):
            while True:
                await call.send(piece)
        await answered(rig, "m")
        assert await labels(rig) == {OTHER: 2}


@pytest.mark.parametrize("begun", [b"", stream_head(content_type="application/json")])
async def test_a_list_that_never_comes_blocks_nothing(begun: bytes) -> None:
    """Neither requests nor the end of the sidecar wait for it."""
    async with proxied(models=None) as rig:
        await answered(rig, "m")
        call = await question(rig)
        await call.send(begun)
        for _ in range(3):
            await answered(rig, "m")
        assert await labels(rig) == {OTHER: 4}
    await call.gone()


@pytest.mark.parametrize("value", [None, True, 7, "m", [], {}, [1, "m"], {"id": "m"}])
def test_what_has_no_names(value: object) -> None:
    """Whatever stands where the models should be, none is found and nothing is raised."""
    for whole in (value, {"data": value}, {"data": [value]} if value != {"id": "m"} else {}):
        assert list(names_in(json.dumps(whole).encode())) == []


def test_only_so_many_names_are_labels() -> None:
    """What is no model's name is not counted among them."""
    odd = ["", "a b", 'a"', "ä", "a\n", "x" * 129, None, ["m"]]
    names = [f"m{number}" for number in range(2 * MAX_MODELS)]
    found = list(names_in(listed([*odd, *names]).partition(b"\r\n\r\n")[2]))
    assert found == names[:MAX_MODELS]


# --- asked again --------------------------------------------------------------------------------


class Asked:
    """The names of an upstream in the hands of a test. Every unknown name makes them ask."""

    def __init__(self, config: Config, upstream: Upstream, client: UpstreamClient) -> None:
        self.models = Models(config, client)
        self._upstream = upstream

    async def tell(self, raw: bytes) -> None:
        """Ask, and get this answer."""
        assert self.models.label("unknown") == OTHER
        await told(await self._upstream.accept(), raw)


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    """Names that are asked for again at once."""
    monkeypatch.setattr(models, "ASKING_AGAIN", 0.0)
    upstream = Upstream("127.0.0.1")
    async with asyncio.timeout(LIMIT), upstream.listening("/v1") as base_url:
        config = configured(base_url, models=None)
        async with _open(UpstreamClient(config.upstream)) as client:
            asked = Asked(config, upstream, client)
            yield asked
            await asked.models.close()


@asynccontextmanager
async def _open(client: UpstreamClient) -> AsyncIterator[UpstreamClient]:
    try:
        yield client
    finally:
        await client.close()


async def test_a_later_list_takes_the_place_of_the_first(asked: Asked) -> None:
    """Models come and go."""
    await asked.tell(listed(["m", "n"]))
    await asked.tell(listed(["n", "o"]))
    assert [asked.models.label(name) for name in ("n", "o")] == ["n", "o"]
    await asked.tell(listed(["m"]))
    assert asked.models.label("m") == "m"


@pytest.mark.parametrize("raw", NO_LISTS.values(), ids=NO_LISTS)
async def test_what_is_no_list_makes_no_name_forgotten(asked: Asked, raw: bytes) -> None:
    """An upstream that fails for a moment does not rename its models."""
    await asked.tell(listed(["m"]))
    await asked.tell(raw)
    assert asked.models.label("m") == "m"


# --- hostile names ------------------------------------------------------------------------------

HOSTILE = [
    "HOSTILE one",
    'HOSTILE"} 1\nevil{a="',
    "HOSTILE\r\nX-Evil: 1",
    "HOSTILE\\",
    "HOSTILE-ünï-模型",
    "HOSTILE\x00\x1b[31m",
    "HOSTILE\u2028\u202e",
    "HOSTILE\ud800",
    "HOSTILE" * 148_000,
    "HOSTILE=x",
    "{HOSTILE}",
]


@pytest.mark.parametrize("form", [AccessLog.JSON, AccessLog.LOGFMT])
@pytest.mark.parametrize("asks", [True, False])
async def test_hostile_names_are_told_nowhere(
    form: AccessLog,
    asks: bool,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither in a label nor in a log, whoever wrote them: clients, answers, upstream's list."""
    async with proxied(models=None if asks else (), access_log=form) as rig:
        if asks:
            await answered(rig, "m")
            await told(await question(rig), listed([*HOSTILE, "m"]))
        for model in HOSTILE:
            async with rig.call(chat(model=model)) as (client, call):
                # An orphan close marker makes the log tell of a model.
                body = json.dumps({"model": model, "choices": []}).encode()
                said = b"data: " + body + b"\n\n" + text("hm</think>a")
                await call.send(streamed(ROLE, said, FINISH, DONE))
                await client.answer()
        scrape = await rig.scrape()
        found = await labels(rig)
    lines = capsys.readouterr().out.splitlines()
    assert found == ({OTHER: len(HOSTILE) + 1} if asks else {OTHER: len(HOSTILE)})
    assert len(lines) == len(HOSTILE) + asks
    assert "HOSTILE" not in scrape
    assert "HOSTILE" not in "".join(lines)
    assert "HOSTILE" not in caplog.text
    assert max(map(len, lines)) < 1000
