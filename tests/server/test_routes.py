"""Which targets are served: what is not, is answered here and never reaches upstream."""

from __future__ import annotations

import pytest

from .scripted import chat, proxied, request, response

REFUSED = [
    "/",
    "/metrics",
    "/slots",
    "/debug",
    "/health",
    "/healthz",
    "/readyz",
    "/props",
    "/v1",
    "/v1/",
    "/v1/metrics",
    "/v1/slots",
    "/v1/debug/pprof",
    "/v1/internal/models",
    "/v1/../metrics",
    "/v1/models/../../metrics",
    "/v1/models/..",
    "/v1/./models",
    "/v1/%2e%2e/metrics",
    "/v1/models/%2E%2e/%2e%2E/metrics",
    "/v1/models/.%2e/metrics",
    "/v1%2fmetrics",
    "/v1/models%2f..%2fmetrics",
    "/v1/models/%5c..%5cmetrics",
    "/v1/models\\..\\metrics",
    "/v1/models/%00",
    "/v1/models/%",
    "/v1/models/%zz",
    "/v1//models",
    "//v1/models",
    "/v1/models//",
    "/V1/models",
    "/v1/Models",
    "/v1/modelsx",
    "/v2/models",
    "/api/v1/models",
    "/v1/models|x",
    "/v1/models\x7f",
    "/v1/\xc3\xa9",
    "//evil.example/v1/models",
    "http://evil.example/v1/models",
    "http://169.254.169.254/latest/meta-data",
    "https://sidecar/v1/models",
    "*",
]

CHAT_IN_DISGUISE = [
    "/v1/chat/completions/",
    "/v1/Chat/Completions",
    "/v1/chat/COMPLETIONS",
    "/v1/chat/completion%73",
    "/v1/ch%61t/completions",
    "/v1/%63hat/completions",
    "/v1/chat/completions;x",
    "/v1/chat/completions;x=1",
    "/v1/chat;a/completions",
    "/v1;a/chat/completions",
    "/v1/chat%2fcompletions",
    "/v1/chat/./completions",
    "/v1/chat/x/../completions",
    "/v1/models/../chat/completions",
    "/v1//chat/completions",
    "//v1/chat/completions",
    "/v1/chat//completions",
    "/v1/%2e/chat/completions",
    "/v1/%2e%2e/v1/chat/completions",
    "/chat/completions",
    "/v1/v1/chat/completions",
    "http://sidecar/v1/chat/completions",
    "/v1/chat/completions%20",
    "/v1/chat/completions%09",
    "/v1/chat/completions%3f",
    "/v1/chat/completions%23",
    "/v1/chat/completions%3Bx",
    "/v1/chat/completions%00",
]


COMPLETIONS_IN_DISGUISE = [
    "/v1/completions/",
    "/v1/Completions",
    "/v1/completion%73",
    "/v1/completions;x=1",
    "/v1;a/completions",
    "/v1/./completions",
    "/v1/models/../completions",
    "/v1//completions",
    "/v1/%2e/completions",
    "/v1/v1/completions",
    "/completions",
    "/v1/engines/m/completions",
    "/openai/deployments/m/completions",
    "http://sidecar/v1/completions",
    "/v1/completions%20",
    "/v1/completions%3f",
    "/v1/completions%23",
    "/v1/completions%00",
]

OTHERS_IN_DISGUISE = [
    "/v1/responses/",
    "/v1/Responses",
    "/v1/response%73",
    "/v1/responses;x",
    "/v1/x/responses",
    "/responses",
    "/v1/messages/",
    "/v1/MESSAGES",
    "/v1/messages%20",
    "/anthropic/v1/messages",
    "/v1/threads/thread_1/Messages",
    "/api/chat/",
    "/api/Chat",
    "/api/chat;x",
    "/api/%63hat",
    "/ollama/api/chat",
    "/api/generate/",
    "/api/GENERATE",
    "/v1/api/generate",
]

STORED_IN_DISGUISE = [
    "/v1/responses/resp_1/",
    "/v1/Responses/resp_1",
    "/responses/resp_1",
    "/openai/v1/responses/resp_1",
    "/v1/response%73/resp_1/input_items",
    "/v1/chat/Completions/chatcmpl-1",
    "/v1/chat/completions/chatcmpl-1/messages/",
    "/v1/chat/completions/chatcmpl-1/Messages",
    "/v1/conversations/conv_1/Items",
    "/v1/conversations/conv_1/items/msg_1/",
    "/v1/conversations;x/conv_1/items",
]


@pytest.mark.parametrize("target", REFUSED)
async def test_what_is_not_api_is_refused(target: str) -> None:
    """404 with an error object, and not a byte upstream."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b'"LEAK"'))
        answer = await rig.ask(request("GET", target))
        assert rig.upstream.calls == []
    assert answer.status in (400, 404)
    assert answer.error["code"] == ("not_found" if answer.status == 404 else "bad_request")
    assert answer.error["type"] == "invalid_request_error"
    assert answer.head.one("Server") == "sidecar"


@pytest.mark.parametrize("target", CHAT_IN_DISGUISE + COMPLETIONS_IN_DISGUISE)
async def test_what_is_filtered_has_one_name(target: str) -> None:
    """A spelling that another server may take for it is not forwarded unfiltered."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b'"LEAK"'))
        answer = await rig.ask(chat(path=target))
        assert rig.upstream.calls == []
    assert answer.status == 404
    assert answer.error["code"] == "not_found"


@pytest.mark.parametrize("target", CHAT_IN_DISGUISE + COMPLETIONS_IN_DISGUISE)
async def test_what_is_filtered_has_one_name_though_all_paths_are_listed(target: str) -> None:
    """A configuration that forwards everything does not forward it past its rules."""
    async with proxied(paths=("/*", "*")) as rig:
        rig.upstream.reply(response("200 OK", body=b'"LEAK"'))
        answer = await rig.ask(chat(path=target))
        reached = [call.request.target for call in rig.upstream.calls]
    if reached:
        # Other paths, by any reading: only these may pass.
        assert target in ("/chat/completions", "/v1/v1/chat/completions")
    else:
        assert answer.status == 404


@pytest.mark.parametrize("paths", [(), ("/*", "*")], ids=["none listed", "all listed"])
@pytest.mark.parametrize("target", OTHERS_IN_DISGUISE + STORED_IN_DISGUISE)
async def test_every_endpoint_that_is_filtered_has_one_name(
    target: str, paths: tuple[str, ...]
) -> None:
    """Of all wire formats, and of stored answers."""
    async with proxied(paths=paths) as rig:
        rig.upstream.reply(response("200 OK", body=b'"LEAK"'))
        answers = [await rig.ask(chat(path=target)), await rig.ask(request("GET", target))]
        assert rig.upstream.calls == []
    assert [answer.status for answer in answers] == [404, 404]


@pytest.mark.parametrize("target", ["/health", "/v1/custom/a/b", "/tokenize"])
async def test_listed_paths_are_forwarded(target: str) -> None:
    """What the configuration lists is served, and what it does not is not."""
    async with proxied(paths=("/health", "/v1/custom/*", "/tok*")) as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await rig.ask(request("POST", target, body=b"x"))).status == 200
        assert [call.request.target for call in rig.upstream.calls] == [target]
        assert (await rig.ask(request("GET", "/metrics"))).status == 404
        assert len(rig.upstream.calls) == 1


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/files/f/content",
        "/v1/audio/speech",
        "/v1/images/generations",
        "/v1/responses",
        "/v1/threads/thread_1/messages",
        "/v1/messages/batches",
        "/v1/responses/resp_1/unknown",
    ],
)
async def test_the_api_is_forwarded(target: str) -> None:
    """The resources of the API, and what is below them."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await rig.ask(request("GET", target))).status == 200
        assert [call.request.target for call in rig.upstream.calls] == [target]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(
    ("prefix", "root"), [("/v1", ""), ("", ""), ("/ollama/v1", "/ollama"), ("/x", "/x")]
)
async def test_ollamas_own_api_is_beside_the_one_of_openais_shape(
    path: str, prefix: str, root: str
) -> None:
    """At the same path of the base URL, without the ``/v1`` at its end."""
    async with proxied(prefix) as rig:
        rig.upstream.reply(response("200 OK"))
        await rig.ask(chat(path=path))
        assert [call.request.target for call in rig.upstream.calls] == [root + path]


@pytest.mark.parametrize("path", ["/api/tags", "/api/embed", "/api/pull", "/api"])
async def test_the_rest_of_ollamas_api_is_listed_or_refused(path: str) -> None:
    """It manages models, which is not for clients."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await rig.ask(request("GET", path))).status == 404
        assert rig.upstream.calls == []
    async with proxied(paths=("/api*",)) as rig:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await rig.ask(request("GET", path))).status == 200


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", " websocket "])
async def test_websockets_are_not_served(upgrade: str) -> None:
    """501 with an error object, and nothing reaches upstream."""
    asked = request(
        "GET",
        "/v1/responses",
        f"Upgrade: {upgrade}",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(asked)
        assert rig.upstream.calls == []
    assert answer.status == 501
    assert answer.error["code"] == "not_supported"


async def test_other_upgrades_are_ignored() -> None:
    """An offer of HTTP/2 may be declined by not mentioning it (RFC 9110, 7.8)."""
    asked = request(
        "GET", "/v1/models", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    )  # fmt: skip
    async with proxied() as rig, rig.call(asked) as (client, call):
        assert call.request.all("Upgrade") == []
        assert call.request.all("HTTP2-Settings") == []
        await call.send(response("200 OK", body=b"{}"))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_methods_for_proxies_do_not_tunnel(method: str) -> None:
    """CONNECT names an authority, which is no path that is served."""
    target = "example.org:443" if method == "CONNECT" else "/metrics"
    async with proxied() as rig:
        answer = await rig.ask(request(method, target))
        assert rig.upstream.calls == []
    assert answer.status == 405


async def test_the_body_of_a_refused_request_is_not_read_as_a_request() -> None:
    """What follows on the connection is not taken for another one."""
    smuggled = request("GET", "/v1/models")
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(response("200 OK"))
        await client.send(request("POST", "/metrics", body=smuggled))
        assert (await client.answer()).status == 404
        client.writer.write_eof()
        assert await client.gone() == b""
        assert rig.upstream.calls == []
