"""The wheel by itself: installed outside the checkout, it has all that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.demo.transcripts import TRANSCRIPTS
from tests.locks import IMAGE, ROOT, pins

PATIENCE = 600.0
"""Seconds; the dependencies come from a package index."""


def run(arguments: Sequence[str | Path], cwd: Path, **more: str) -> str:
    """Run a command in a clean environment; its output."""
    passed = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "TMPDIR")
    kept = {k: os.environ[k] for k in passed if k in os.environ}
    kept |= {k: v for k, v in os.environ.items() if k.startswith("PIP_") or "proxy" in k.lower()}
    ended = subprocess.run(
        list(map(str, arguments)),
        cwd=cwd,
        env=kept | more,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation"]
    run([*build, "--wheel", "--outdir", folder, ROOT], folder)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel and what it asks for, in the locked versions."""
    folder = tmp_path_factory.mktemp("home")
    venv.create(folder / "venv", with_pip=True)
    locked = folder / "constraints.txt"
    locked.write_text("".join(f"{pin.requirement}\n" for pin in pins(IMAGE).values()))
    pip = folder / "venv" / "bin" / "pip"
    run([pip, "install", "--quiet", "--no-compile", "--constraint", locked, wheel], folder)
    return folder


def installed(home: Path, *arguments: str | Path) -> str:
    """The installed command, run in a folder that has nothing to do with the checkout."""
    work = home / "elsewhere"
    work.mkdir(exist_ok=True)
    return run([home / "venv" / "bin" / "sidecar", *arguments], work)


def test_the_wheel_holds_the_configuration_and_every_format(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"sidecar/{p.relative_to(ROOT)}" for p in (ROOT / "config").rglob("*.yaml")}
    assert shipped
    assert shipped <= names
    assert "sidecar/demo/demo.yaml" in names
    page = {f"sidecar/playground/{p.name}" for p in (ROOT / "sidecar" / "playground").glob("*.*")}
    assert "sidecar/playground/client.js" in page <= names
    assert not any(name.startswith("tests/") for name in names)


def test_it_runs_from_the_wheel_and_not_from_the_checkout(home: Path) -> None:
    assert __version__ in installed(home, "--version")
    python = home / "venv" / "bin" / "python"
    where = run([python, "-c", "import sidecar; print(sidecar.__file__)"], home)
    assert where.startswith(str(home))


def test_the_configuration_that_it_ships_is_right(home: Path) -> None:
    python = home / "venv" / "bin" / "python"
    code = "from sidecar.resources import config_dir; print(config_dir())"
    shipped = Path(run([python, "-c", code], home).strip())
    assert home in shipped.parents
    *lines, _ = installed(home, "check", shipped).splitlines()
    assert len(lines) == len(list((ROOT / "config").rglob("*.yaml")))


def test_one_round_of_the_demo_leaks_nothing(home: Path) -> None:
    said = installed(home, "demo", "--once")
    started = {line.split(":")[0] for line in said.splitlines()}
    assert started >= {transcript.name for transcript in TRANSCRIPTS}
    assert said.count("  hidden ") >= len(TRANSCRIPTS)
    assert said.count("  shown ") == len(TRANSCRIPTS)
