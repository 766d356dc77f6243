"""Rules that change while requests are served: all or nothing, and from the next request on."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sidecar.metrics import Metrics
from sidecar.rules.source import Source
from sidecar.server import reload

from .process import configuration
from .reloading import BROKEN, DROP, KEEP, NEW_RULES, NO_DELAY, REFUSED, Files, files, swap
from .scripted import (
    DONE,
    FINISH,
    LAST,
    LIMIT,
    ROLE,
    Answer,
    Call,
    Peer,
    Upstream,
    chat,
    chunk,
    framed,
    payloads,
    request,
    stream_head,
    streamed,
    text,
    visible,
)

STREAMS = 50
THOUGHT = chunk({"reasoning_content": "secret"})
WHOLE = streamed(ROLE, THOUGHT, text("answer"), FINISH, DONE)
OLD_KEY, NEW_KEY = "sk-old-0123456789abcdef", "sk-new-0123456789abcdef"


def thought(body: bytes) -> str:
    """The reasoning that a client gets."""
    return "".join(
        choice["delta"].get("reasoning_content", "")
        for event in payloads(body)
        if isinstance(event, dict)
        for choice in event["choices"]
    )


async def ask(sidecar: Files) -> str:
    """The reasoning that a new request gets now."""
    sidecar.rig.upstream.reply(WHOLE)
    answer = await sidecar.rig.ask(chat())
    sidecar.rig.upstream.reply(None)
    assert visible(answer.body) == "answer"
    return thought(answer.body)


async def begun(client: Peer, call: Call) -> bytes:
    """A stream has begun, and its client has this of it."""
    await call.send(stream_head(), framed(ROLE), framed(text("one")))
    await client.head()
    body = await client.chunk()
    while "one" not in visible(body):
        body += await client.chunk()
    return body


async def finished(client: Peer, call: Call) -> bytes:
    """The rest of it, with more reasoning."""
    await call.send(framed(THOUGHT), framed(text(" two")), framed(FINISH), framed(DONE), LAST)
    return b"".join([data async for data in client.chunks()])


async def test_streams_end_as_they_began_and_the_next_is_under_the_new_rules(
    tmp_path: Path,
) -> None:
    """50 that run, of which none is lost, and the 51st."""
    async with files(tmp_path) as sidecar, AsyncExitStack() as stack:
        streams = []
        for _ in range(STREAMS):
            client, call = await stack.enter_async_context(sidecar.rig.call(chat()))
            streams.append((client, call, await begun(client, call)))
        sidecar.write(KEEP)
        await sidecar.command.said(NEW_RULES)
        client, call = await stack.enter_async_context(sidecar.rig.call(chat()))
        first = await begun(client, call)
        assert thought(first + await finished(client, call)) == "secret"
        for client, call, first in streams:
            body = first + await finished(client, call)
            assert visible(body) == "one two"
            assert thought(body) == ""
            assert body.endswith(DONE)
        assert (await sidecar.reloads()).successes == 1


async def test_a_mistake_changes_nothing_until_it_is_mended(tmp_path: Path) -> None:
    """The log says what and where, the metrics that; and all goes on."""
    async with files(tmp_path) as sidecar, sidecar.rig.call(chat()) as (client, call):
        first = await begun(client, call)
        start = await sidecar.reloads()
        assert start == (1, start.at, 0, 0)
        assert start.at > 0
        sidecar.write(BROKEN)
        place = f"{sidecar.file}:6:28: rules.0.reasoning: found 'strip', expected 'drop'"
        assert (await sidecar.command.said(REFUSED))[1].startswith(place)
        assert await sidecar.reloads() == (0, start.at, 0, 1)
        assert await sidecar.ready() == 200
        assert await ask(sidecar) == ""
        sidecar.write(DROP)
        await sidecar.command.said("was read again, nothing is new")
        mended = await sidecar.reloads()
        assert mended == (1, mended.at, 1, 1)
        assert mended.at > start.at
        body = first + await finished(client, call)
        assert (visible(body), thought(body)) == ("one two", "")


async def test_all_mistakes_are_one_line(tmp_path: Path) -> None:
    async with files(tmp_path) as sidecar:
        sidecar.write("rules: [{reasoning: strip, tool_calls: strip}]\n")
        sidecar.hang_up()
        assert (await sidecar.command.said(REFUSED))[1].endswith(
            "(and 1 more: sidecar check tells all)"
        )


async def test_sighup_reads_at_once_and_says_so(tmp_path: Path) -> None:
    """Even if nothing has changed: whoever asks is answered."""
    async with files(tmp_path) as sidecar:
        sidecar.hang_up()
        await sidecar.command.said("was read again, nothing is new")
        sidecar.write(KEEP)
        sidecar.hang_up()
        await sidecar.command.said(NEW_RULES)
        assert await ask(sidecar) == "secret"
        assert (await sidecar.reloads())[2:] == (2, 0)


async def test_what_is_touched_or_only_commented_is_no_reload(tmp_path: Path) -> None:
    """By what a file means, not by when it was written."""
    async with files(tmp_path) as sidecar:
        os.utime(sidecar.file)
        sidecar.write(f"# as before\n{DROP}")
        sidecar.hang_up()
        await sidecar.command.said("was read again, nothing is new")
        sidecar.write(KEEP)
        await sidecar.command.said(NEW_RULES)
        assert (await sidecar.reloads())[2:] == (2, 0)


async def test_a_volume_of_kubernetes(tmp_path: Path) -> None:
    """Its links lead elsewhere from one moment to the next; formats lie in a folder of it."""
    folder = tmp_path / "etc"
    (folder / "..1").mkdir(parents=True)
    (folder / "..data").symlink_to("..1")
    (folder / "sidecar.yaml").symlink_to("..data/sidecar.yaml")
    async with files(folder) as sidecar:
        swap(folder, {"sidecar.yaml": sidecar.text(KEEP)}, "2")
        await sidecar.command.said(NEW_RULES)
        assert await ask(sidecar) == "secret"
        texts = {"sidecar.yaml": sidecar.text(f"formats: formats\n{KEEP}")}
        swap(folder, texts | {"formats/plan.yaml": plan("plan")}, "3")
        await sidecar.command.said("new: rules and formats|new: formats")
        swap(folder, texts | {"formats/plan.yaml": plan("scheme")}, "4")
        await sidecar.command.said("new: formats")
        swap(folder, {"sidecar.yaml": sidecar.text(BROKEN)}, "5")
        await sidecar.command.said(REFUSED)
        assert await ask(sidecar) == "secret"


def plan(word: str) -> str:
    """A format file."""
    return f"""\
id: plan
models: [m]
sources: ["a test"]
groups: [all, reasoning]
why: it is a test
regions:
  - {{channel: reasoning, open: ["<|{word}|>"], close: ["<|/{word}|>"]}}
examples:
  - {{name: one, text: "<|{word}|>a<|/{word}|>b", visible: "b", reasoning: "a"}}
"""


async def test_formats_of_ones_own(tmp_path: Path) -> None:
    """One that changes, and one whose mistake is mended where it is."""
    own = tmp_path / "formats"
    own.mkdir()
    (own / "plan.yaml").write_text(plan("plan"))
    answer = streamed(ROLE, text("<|plan|>a<|/plan|><|scheme|>b<|/scheme|>c"), FINISH, DONE)
    async with files(tmp_path, always="drain: {delay: 0}\nformats: formats\n") as sidecar:
        sidecar.rig.upstream.reply(answer)
        assert visible((await sidecar.rig.ask(chat())).body) == "<|scheme|>b<|/scheme|>c"
        (own / "plan.yaml").write_text("id: plan\n")
        assert "plan.yaml" in (await sidecar.command.said(REFUSED))[1]
        (own / "plan.yaml").write_text(plan("scheme"))
        await sidecar.command.said("new: formats")
        assert visible((await sidecar.rig.ask(chat())).body) == "<|plan|>a<|/plan|>c"
        (own / "other.yaml").write_text(plan("plan").replace("id: plan", "id: other"))
        await sidecar.command.said("new: formats")
        assert visible((await sidecar.rig.ask(chat())).body) == "c"


async def test_an_editor_takes_the_file_away_and_writes_in_pieces(tmp_path: Path) -> None:
    """None of what is there for a moment counts: no file, an empty one, the first half of one."""
    async with files(tmp_path) as sidecar:
        new = sidecar.text(KEEP)
        sidecar.file.rename(sidecar.folder / "sidecar.yaml~")
        with sidecar.file.open("w") as file:
            file.flush()
            file.write(new[: len(new) // 2])
            file.flush()
            file.write(new[len(new) // 2 :])
        await sidecar.command.said(NEW_RULES)
        assert (await sidecar.reloads())[2:] == (1, 0)


async def test_without_a_watch_it_says_so_and_can_still_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The system gives a user only so many."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "sidecar.yaml"
    file.write_text(configuration(DROP, "http://u/v1"))
    source = Source(file, {})
    asked, used = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr("watchfiles.awatch", refuse)
    reloader = reload.Reloader(source, source.read(), lambda *_: used.set(), Metrics(), asked)
    task = asyncio.create_task(reloader.run())
    file.write_text(configuration(KEEP, "http://u/v1"))
    asked.set()
    async with asyncio.timeout(LIMIT):
        await used.wait()
    task.cancel()
    await asyncio.wait([task])
    assert "is not watched (No space left on device): SIGHUP has it read again" in caplog.text


@pytest.mark.parametrize("leaves", ["nothing", "an empty file"])
async def test_a_file_that_stays_away_is_a_mistake(leaves: str, tmp_path: Path) -> None:
    """And what is served goes on."""
    async with files(tmp_path) as sidecar:
        sidecar.file.unlink()
        if leaves == "an empty file":
            sidecar.file.touch()
        await sidecar.command.said(REFUSED)
        assert await ask(sidecar) == ""
        sidecar.write(KEEP)
        await sidecar.command.said(NEW_RULES)


async def test_keys_change_on_a_connection_that_is_kept(tmp_path: Path) -> None:
    """From the next request on; a key's file may change alone."""
    keys = tmp_path / "keys"
    keys.write_text(OLD_KEY)
    always = "drain: {delay: 0}\nauth: {keys: [{file: keys, name: app}]}\n"

    async def status(client: Peer, key: str) -> int:
        answer: Answer = await client.ask(chat(f"Authorization: Bearer {key}"))
        return answer.status

    async with files(tmp_path, always=always) as sidecar, await sidecar.rig.client() as client:
        sidecar.rig.upstream.reply(WHOLE)
        assert await status(client, OLD_KEY) == 200
        keys.write_text(f"{OLD_KEY}\n{NEW_KEY}\n")
        await sidecar.command.said("read again, new: auth")
        assert [await status(client, key) for key in (OLD_KEY, NEW_KEY)] == [200, 200]
        keys.write_text(NEW_KEY)
        await sidecar.command.said("read again, new: auth")
        assert await status(client, NEW_KEY) == 200
        refused = await client.ask(chat(f"Authorization: Bearer {OLD_KEY}", model="other"))
        assert refused.status == 401


async def test_keys_can_be_asked_for_from_now_on(tmp_path: Path) -> None:
    """And clients are told apart by the metrics from then on."""
    async with files(tmp_path) as sidecar:
        sidecar.rig.upstream.reply(WHOLE)
        assert (await sidecar.rig.ask(chat())).status == 200
        sidecar.write(f"auth: {{keys: [{{key: {NEW_KEY}, name: app}}]}}\n{DROP}")
        await sidecar.command.said("read again, new: auth")
        assert (await sidecar.rig.ask(chat())).status == 401
        assert (await sidecar.rig.ask(chat(f"x-api-key: {NEW_KEY}"))).status == 200
        assert 'sidecar_client_requests_total{client="app"' in await sidecar.rig.scrape()


async def test_a_reload_while_it_drains(tmp_path: Path) -> None:
    """Who is still served is so by the new rules; it stays not ready, and ends as it would."""
    async with (
        files(tmp_path, always="drain: {delay: 1h}\n") as sidecar,
        sidecar.rig.call(chat()) as (client, call),
    ):
        first = await begun(client, call)
        sidecar.command.process.send_signal(signal.SIGTERM)
        await sidecar.command.said("draining: 1 answer is under way")
        sidecar.write(KEEP)
        await sidecar.command.said(NEW_RULES)
        assert await sidecar.ready() == 503
        assert await ask(sidecar) == "secret"
        body = first + await finished(client, call)
        assert (visible(body), thought(body)) == ("one two", "")
        assert await sidecar.ready() == 503
        sidecar.command.process.send_signal(signal.SIGTERM)
        assert (await sidecar.command.ended())[0] == -signal.SIGTERM


async def test_what_needs_a_restart_is_said_and_the_rest_is_used(tmp_path: Path) -> None:
    async with files(tmp_path) as sidecar:
        base_url = sidecar.rig.upstream.base_url
        sidecar.file.write_text(
            configuration(f"{NO_DELAY}reuse_port: true\n{KEEP}", base_url, listen="127.0.0.1:1")
        )
        await sidecar.command.said("new: rules$")
        await sidecar.command.said("a restart is needed for listen and reuse_port, until then")
        assert await ask(sidecar) == "secret"
        assert (await sidecar.reloads())[2:] == (1, 0)


async def test_what_addresses_were_given_is_no_change(tmp_path: Path) -> None:
    """The command line goes before the file, also when that is read again."""
    async with files(tmp_path) as sidecar:
        sidecar.write(f"write_timeout: 50s\n{DROP}")
        sidecar.hang_up()
        await sidecar.command.said("new: write_timeout$")


async def test_the_playground_is_there_from_now_on(tmp_path: Path) -> None:
    async with files(tmp_path) as sidecar:
        address = sidecar.rig.running.admin
        async with await sidecar.rig.client(address) as client:
            assert (await client.ask(request("GET", "/playground"))).status == 404
            sidecar.write(f"{DROP}playground: true\n")
            await sidecar.command.said("the configuration was read again, new: playground")
            assert (await client.ask(request("GET", "/playground"))).status == 200


async def test_another_upstream(tmp_path: Path) -> None:
    """What began at the old one ends there."""
    other = Upstream("127.0.0.1")
    async with (
        other.listening("/v1") as base_url,
        files(tmp_path) as sidecar,
        sidecar.rig.call(chat()) as (client, call),
    ):
        first = await begun(client, call)
        sidecar.file.write_text(configuration("drain: {delay: 0}\n" + DROP, base_url))
        await sidecar.command.said("new: upstream$")
        other.reply(WHOLE)
        assert visible((await sidecar.rig.ask(chat())).body) == "answer"
        assert len(other.calls) == 1
        assert visible(first + await finished(client, call)) == "one two"


async def test_no_secret_is_in_what_is_said(tmp_path: Path) -> None:
    """Whatever is wrong with it, and wherever it stands."""
    secret = "sk-hidden-0123456789"
    wrong = (
        f"auth: {{keys: [{{{secret}: {secret}}}]}}\n",
        f"auth: {{keys: [{{key: '{secret} {secret}'}}]}}\n",
        f"auth: {{keys: [{{file: {secret}}}]}}\n",
        f"auth: {{keys: [{{key: {secret}}}, {{key: {secret}}}]}}\n",
        f"upstream: {{api_key: [{secret}]}}\n",
    )
    async with files(tmp_path) as sidecar:
        for settings in wrong:
            text_ = settings if "upstream" in settings else sidecar.text(settings)
            sidecar.file.write_text(text_)
            sidecar.hang_up()
            assert secret not in (await sidecar.command.said(REFUSED))[0]
        sidecar.file.write_text(sidecar.text(f"auth: {{keys: [{{key: {secret}}}]}}\n{DROP}"))
        sidecar.hang_up()
        await sidecar.command.said("new: auth$")
        assert secret not in await sidecar.rig.scrape()
        sidecar.command.process.send_signal(signal.SIGTERM)
        code, out, err = await sidecar.command.ended()
    assert code == 0
    assert secret not in out + err
