"""The real command, with its files in the hands of the test."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from .process import FILE, Command, configuration, running
from .scripted import Rig, request
from .test_metrics import parsed, total

DROP = "rules: [{name: old}]\n"
"""The settings that it begins with: reasoning goes."""
KEEP = "rules: [{name: new, reasoning: keep}]\n"
BROKEN = "rules:\n  - {name: new, reasoning: strip}\n"
NO_DELAY = "drain: {delay: 0}\n"

NEW_RULES = "the configuration was read again, new: rules"
REFUSED = r"the configuration cannot be used, the old one stays: (.*)$"


class Reloads(NamedTuple):
    """What the metrics say of reloads."""

    successful: float
    at: float
    successes: float
    failures: float


class Files:
    """A sidecar that runs, and the folder of its file."""

    def __init__(self, command: Command, folder: Path, settings: str) -> None:
        self.command = command
        self.rig: Rig = command.rig
        self.folder = folder
        self.file = folder / FILE
        self._always = settings

    def text(self, settings: str) -> str:
        """A configuration in front of the same upstream."""
        return configuration(self._always + settings, self.rig.upstream.base_url)

    def write(self, settings: str) -> None:
        """Let the file say these settings, all at once."""
        new = self.folder / "new~"
        new.write_text(self.text(settings), encoding="utf-8")
        new.replace(self.file)

    def hang_up(self) -> None:
        """Ask for a reload."""
        self.command.process.send_signal(signal.SIGHUP)

    async def ready(self) -> int:
        """The status of ``/readyz``."""
        async with await self.rig.client(self.rig.running.admin) as client:
            return (await client.ask(request("GET", "/readyz"))).status

    async def reloads(self) -> Reloads:
        """What the metrics say."""
        scrape = await self.rig.scrape()
        name = "sidecar_config_last_reload_"
        found = parsed(scrape)
        return Reloads(
            found[name + "successful", frozenset()],
            found[name + "success_timestamp_seconds", frozenset()],
            total(scrape, "sidecar_config_reloads_total", result="success"),
            total(scrape, "sidecar_config_reloads_total", result="failure"),
        )


@asynccontextmanager
async def files(
    folder: Path, settings: str = DROP, *, always: str = NO_DELAY
) -> AsyncIterator[Files]:
    """A sidecar with these ``settings``, which the test may change, and those that stay."""
    async with running(folder, always + settings, seconds=60.0) as command:
        yield Files(command, folder, always)


def swap(folder: Path, texts: dict[str, str], version: str) -> None:
    """Put ``texts``, by their names, where a volume of a ConfigMap has them, as the kubelet does
    (Kubernetes, pkg/volume/util/atomic_writer.go): into a new folder, to which ``..data`` leads
    from one moment to the next; then the old one goes."""
    data, new = folder / "..data", folder / f"..{version}"
    old = data.resolve() if data.is_symlink() else None
    for name, text in texts.items():
        path = new / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    link = folder / "..data_tmp"
    link.symlink_to(new.name)
    link.rename(data)
    for name in {Path(name).parts[0] for name in texts}:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data", name))
    if old is not None:
        for root, _, names in os.walk(old, topdown=False):
            for name in names:
                (Path(root) / name).unlink()
            Path(root).rmdir()
