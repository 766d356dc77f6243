"""A configuration that is exchanged for another while requests are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.rules.catalogue import shipped_catalogue
from sidecar.rules.config import Config
from sidecar.rules.ruleset import RuleSet
from sidecar.rules.upstreamsection import Reuse, Tls
from sidecar.server.app import Running

from .keeping import keeping
from .scripted import chat, configured, proxied, visible
from .test_reload import WHOLE, begun, finished


def compiled(config: Config) -> RuleSet:
    return RuleSet(config.rules, shipped_catalogue())


async def test_connections_to_the_same_upstream_stay_open() -> None:
    """And to another one they close, once the last answer on them has ended."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        assert isinstance(kept.rig.running, Running)
        url = f"http://127.0.0.1:{kept.port}/v1"
        first, _ = await kept.ask(chat(), WHOLE)
        config = configured(url, reuse=Reuse.ALWAYS, write_timeout=50.0)
        kept.rig.running.use(config, compiled(config))
        same, _ = await kept.ask(chat(), WHOLE)
        assert same is first
        async with kept.asking(chat()) as (asked, answer):
            assert asked.peer is first
            other = configured(url, reuse=Reuse.ALWAYS, retries=1)
            kept.rig.running.use(other, compiled(other))
            second, _ = await kept.ask(chat(), WHOLE)
            assert second is not first
            await first.send(WHOLE)
            assert visible((await answer).body) == "answer"
        await kept.keeper.ended(first)
        again, _ = await kept.ask(chat(), WHOLE)
        assert again is second


async def test_limits_are_those_of_the_newest_configuration() -> None:
    """Also for what is counted over all requests."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        assert isinstance(rig.running, Running)
        first = await begun(client, call)
        config = configured(rig.upstream.base_url, streams=1)
        rig.running.use(config, compiled(config))
        assert (await rig.ask(chat())).status == 503
        assert visible(first + await finished(client, call)) == "one two"
        rig.upstream.reply(WHOLE)
        assert (await rig.ask(chat())).status == 200


async def test_what_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """A certificate that went away after it was checked."""
    async with proxied() as rig:
        assert isinstance(rig.running, Running)
        gone = configured("https://127.0.0.1:9/v1", tls=Tls(ca=tmp_path / "gone.pem"))
        with pytest.raises(FileNotFoundError):
            rig.running.use(gone, compiled(gone))
        rig.upstream.reply(WHOLE)
        assert visible((await rig.ask(chat())).body) == "answer"
