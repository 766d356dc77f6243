"""The image: built for real, and run as Kubernetes' restricted profile runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from sidecar import __version__
from sidecar.server.app import Addresses
from tests.locks import IMAGE
from tests.server.process import ADMIN, DATA, Command, address_said
from tests.server.scripted import (
    DONE,
    FINISH,
    ROLE,
    Rig,
    Upstream,
    chat,
    request,
    streamed,
    visible,
)
from tests.server.scripted import text as said_text

from .building import DOCKERFILE, Image, Unable, built, fetch
from .container import USER, boxed

LARGEST: Final = 150_000_000
"""Bytes of the compressed image."""
PATIENCE: Final = 180.0
"""Seconds for the container to do what it is asked for."""
Record = Callable[[str, object], None]
"""Has a figure printed at the end of the run."""

asked_for = pytest.mark.skipif(
    "SIDECAR_REQUIRE_IMAGE" not in os.environ,
    reason="an image takes minutes to build: SIDECAR_REQUIRE_IMAGE=1 asks for it",
)


def test_the_label_says_the_version() -> None:
    label = f'org.opencontainers.image.version="{__version__}"'
    assert label in DOCKERFILE.read_text(encoding="utf-8")


@asked_for
def test_every_dependency_has_a_wheel_for_arm64(tmp_path: Path) -> None:
    """With a hash that is locked; so the same file builds there."""
    glibc = [f"--platform=manylinux{name}_aarch64" for name in ("2014", "_2_17", "_2_28", "_2_34")]
    fetch(IMAGE, tmp_path, *glibc, "--python-version=3.11", "--implementation=cp")
    assert any(path.name.startswith("aiohttp-") for path in tmp_path.glob("*aarch64.whl"))


@asked_for
async def test_the_image(tmp_path: Path, record_property: Record) -> None:
    """One test, because an image takes a minute to build."""
    with ExitStack() as stack:
        try:
            image = stack.enter_context(built(tmp_path / "image"))
        except Unable as reason:
            where_possible = os.environ["SIDECAR_REQUIRE_IMAGE"] == "where-possible"
            (pytest.skip if where_possible else pytest.fail)(str(reason))
        _is_small(image, record_property)
        _says_how_it_runs(image)
        _has_what_it_needs_and_no_more(image)
        await _serves_and_ends(image, record_property)


def _is_small(image: Image, record_property: Record) -> None:
    size = image.archive.stat().st_size
    record_property("image", f"{size / 1e6:.0f} MB compressed")
    assert size < LARGEST


def _says_how_it_runs(image: Image) -> None:
    """What Docker and Kubernetes read."""
    config = image.config
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["sidecar"]
    assert config["Cmd"][0] == "serve"
    assert config["Healthcheck"]["Test"] == ["CMD", "sidecar", "health"]
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9090/tcp"}
    assert image.environment["SIDECAR_LISTEN"] == "0.0.0.0:8080"
    assert image.environment["SIDECAR_ADMIN"] == "0.0.0.0:9090"
    assert config.get("StopSignal", "SIGTERM") in ("", "SIGTERM")
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.base.name"]


def _has_what_it_needs_and_no_more(image: Image) -> None:
    """Nothing that installs, no tests, and all bytecode; nobody's secret and nobody else's file."""
    [ours] = image.root.glob("opt/sidecar/lib/python3.*/site-packages")
    [library] = image.root.glob("usr/local/lib/python3.*")
    names = {
        path.name.split("-")[0] for path in [*ours.iterdir(), *library.glob("site-packages/*")]
    }
    assert {"sidecar", "aiohttp", "uvloop", "opentelemetry"} <= names
    assert not names & {"pip", "setuptools", "wheel", "hatchling", "tests"}
    sources = {path for path in ours.rglob("*.py") if "tests" not in path.parts}
    compiled = {
        path.parent.parent / f"{path.name.split('.')[0]}.py" for path in ours.rglob("*.pyc")
    }
    assert sources <= compiled
    bytecode = [*ours.rglob("*.pyc"), *library.rglob("*.pyc")]
    assert any(path.parent.parent.name == "asyncio" for path in bytecode)
    # PEP 552: the flags of bytecode that is not compared with its source, and has no time in it.
    assert [path for path in bytecode if path.read_bytes()[4:8] != b"\1\0\0\0"] == []
    for top in ("opt/sidecar", "etc/sidecar"):
        for path in [image.root / top, *(image.root / top).rglob("*")]:
            if not path.is_symlink():
                mode = path.stat().st_mode
                assert mode & 0o004, f"{path} cannot be read"
                assert not mode & 0o002, f"{path} can be written by all"
                assert path.stat().st_uid == 0, f"{path} is not root's"


async def _serves_and_ends(image: Image, record_property: Record) -> None:
    """As the first process, with a file system that is read-only, no shell and no capability."""
    upstream = Upstream("127.0.0.1")
    async with (
        asyncio.timeout(PATIENCE),
        upstream.listening("/v1"),
        _container(image, upstream) as (sidecar, pid),
    ):
        upstream.reply(streamed(ROLE, said_text("whole"), FINISH, DONE))
        assert visible((await sidecar.rig.ask(chat())).body) == "whole"
        async with await sidecar.rig.client(sidecar.rig.running.admin) as client:
            assert (await client.ask(request("GET", "/readyz"))).status == 200
        facts = _facts(pid)
        record_property("image, idle", f"{int(facts['VmRSS'].split()[0]) // 1024} MiB of memory")
        assert facts["Uid"].split() == facts["Gid"].split() == [str(USER)] * 4
        assert facts["NSpid"].split()[-1] == "1"
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
        assert facts["NoNewPrivs"] == "1"
        assert await _healthy(image, sidecar)
        os.kill(pid, signal.SIGTERM)
        await sidecar.said("draining")
        code, _, err = await sidecar.ended()
        assert code == 0, err
        assert not await _healthy(image, sidecar)


def _facts(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@asynccontextmanager
async def _container(image: Image, upstream: Upstream) -> AsyncIterator[tuple[Command, int]]:
    """The image's own command; and its process, as this machine numbers it."""
    information, told = os.pipe()
    # The image's addresses, but a port that is free here.
    listening = {
        name: f"{image.environment[name].rpartition(':')[0]}:0"
        for name in ("SIDECAR_LISTEN", "SIDECAR_ADMIN")
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *boxed(
                image.root,
                {**image.environment, **listening, "UPSTREAM_BASE_URL": upstream.base_url},
                "--info-fd",
                str(told),
            ),
            *image.config["Entrypoint"],
            *image.config["Cmd"],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(told,),
        )
    finally:
        os.close(told)
    try:
        with os.fdopen(information) as file:
            # Not to its end: the container has the other one too.
            lines = iter(file.readline, "}\n")
            pid = json.loads("".join([*lines, "}"]))["child-pid"]
        out, err = process.stdout, process.stderr
        assert out is not None
        assert err is not None
        addresses = Addresses(await address_said(err, DATA), await address_said(err, ADMIN))
        yield Command(Rig(upstream, addresses), process, out, err), pid
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _healthy(image: Image, sidecar: Command) -> bool:
    """What the image's own check says."""
    address = f"0.0.0.0:{sidecar.rig.running.admin.port}"
    process = await asyncio.create_subprocess_exec(
        *boxed(image.root, {**image.environment, "SIDECAR_ADMIN": address}),
        *image.config["Healthcheck"]["Test"][1:],
    )
    return await process.wait() == 0
