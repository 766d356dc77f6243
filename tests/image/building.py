"""Builds the image of the ``Dockerfile`` as it stands, on a machine without a container engine.

The base that it asks for is made here, from Debian's packages and the CPython that runs the tests,
and its wheels are fetched beforehand, so that the build itself asks nobody.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

from tests.locks import BUILD, IMAGE, ROOT

from .container import boxed

DOCKERFILE: Final = ROOT / "Dockerfile"

_TOOLS: Final = ("buildah", "debootstrap", "bwrap")
_RELEASE: Final = "bookworm"
_LIBRARIES: Final = ("ca-certificates", "libexpat1", "libffi8", "libsqlite3-0", "libssl3")
"""What CPython needs that is not in every Debian system."""
_LEFT_OUT: Final = (
    "site-packages",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "config-*",
)
"""Of the standard library: what slim images do not have, or what belongs to this machine alone."""
_ISOLATION: Final = ("--isolation", "chroot")
"""What works without an engine's daemon and its privileges."""
_PATIENCE: Final = 300.0
"""Seconds for one step; the longest one fetches packages."""


class Failed(Exception):
    """A command failed; its text is what it said."""


class Unable(Exception):
    """This machine can build and run no image of anything; its text says why."""


def run(*command: str | Path) -> str:
    """Run a command; its output. Raises Failed."""
    try:
        ended = subprocess.run(
            list(map(str, command)),
            env=os.environ | {"PATH": _path()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from None
    if ended.returncode != 0:
        raise Failed(f"{command[0]}: {ended.stdout[-4000:]}")
    return ended.stdout


def fetch(lock: Path, folder: Path, *options: str) -> None:
    """Fetch the wheels of a lock, for this machine if no ``options`` say otherwise."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    run(*pip, "--require-hashes", "--only-binary=:all:", "-r", lock, "-d", folder, *options)


@dataclass(frozen=True)
class Image:
    """An image that was built."""

    root: Path
    """Its file system."""
    config: dict[str, Any]
    """As Docker calls its parts: ``User``, ``Env``, ``Entrypoint`` …"""
    archive: Path
    """It as an OCI archive, compressed."""

    @property
    def environment(self) -> dict[str, str]:
        """Of each of its processes."""
        return dict(line.split("=", 1) for line in self.config["Env"])


@contextmanager
def built(folder: Path) -> Iterator[Image]:
    """The image, in a ``folder`` of its own, which is emptied in the end. Raises Unable, and Failed
    if the image is what is wrong."""
    # Plain folders: not every file system can be the lower half of an overlay.
    store = ("--storage-driver", "vfs", "--root", folder / "store", "--runroot", folder / "run")

    def buildah(command: str, *arguments: str | Path) -> str:
        return run("buildah", *store, command, *arguments)

    try:
        _make_base(buildah)
        buildah("build", *_options(folder), "--file", DOCKERFILE, "--tag", "sidecar", ROOT)
        archive = folder / "sidecar.tar"
        buildah("push", "--quiet", "sidecar", f"oci-archive:{archive}")
        described = json.loads(buildah("inspect", "--type", "image", "sidecar"))
        container = buildah("from", "--pull-never", "sidecar").split()[-1]
        root = Path(buildah("mount", container).strip())
        yield Image(root, described["Docker"]["config"], archive)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_base(buildah: Callable[..., str]) -> None:
    """The image that the Dockerfile begins with: a Debian system with our CPython in /usr/local, as
    the official ones have theirs. Raises Unable."""
    if reason := _unfit():
        raise Unable(reason)
    try:
        container = buildah("from", "scratch").split()[-1]
        root = Path(buildah("mount", container).strip())
        included = f"--include={','.join(_LIBRARIES)}"
        run("debootstrap", "--variant=minbase", included, _RELEASE, root, _mirror())
        # The two ways in which commands run from here on: what fails later is not the machine's.
        buildah("run", *_ISOLATION, container, "--", "true")
        run(*boxed(root, {}), "true")
    except Failed as error:
        raise Unable(f"this machine cannot make or run a Debian system: {error}") from None
    shutil.rmtree(root / "var" / "cache" / "apt")
    shutil.rmtree(root / "var" / "lib" / "apt" / "lists")
    _install_python(root)
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
    buildah("commit", "--quiet", "--rm", container, _base_name())


def _unfit() -> str | None:
    """Why nothing can be built here, as far as a look tells; None if that is not so."""
    absent = [tool for tool in _TOOLS if shutil.which(tool, path=_path()) is None]
    if absent:
        return f"there is no {' and no '.join(absent)} here to build and run an image with"
    if os.geteuid() != 0:
        return "only root can build an image without a container engine"
    if platform.freedesktop_os_release().get("VERSION_CODENAME") != _RELEASE:
        return f"this is not Debian {_RELEASE}, for which the image's CPython has to be"
    if sys.base_prefix == "/usr":
        return "this CPython is Debian's own, which works in no other place"
    return None


def _mirror() -> str:
    """Where this machine has its packages from, as far as apt tells."""
    wanted = ("Created-By: Packages", f"Codename: {_RELEASE}", "Label: Debian", "Component: main")
    found = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted).split()
    return found[0] if found else "http://deb.debian.org/debian"


def _base_name() -> str:
    found = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def _install_python(root: Path) -> None:
    """Ours, with the pip that installed us."""
    version = "python{}.{}".format(*sys.version_info)
    here, there = Path(sys.base_prefix), root / "usr" / "local"
    library = there / "lib" / version
    shutil.copytree(
        here / "lib" / version,
        library,
        symlinks=True,
        ignore=shutil.ignore_patterns(*_LEFT_OUT, "__pycache__"),
    )
    (library / "site-packages").mkdir()
    for shared in (here / "lib").glob("libpython*.so*"):
        shutil.copy(shared, there / "lib", follow_symlinks=False)
    shutil.copy(here / "bin" / version, there / "bin")
    for name in ("python", "python3"):
        (there / "bin" / name).symlink_to(version)
    for part in _site_packages().glob("pip*"):
        if part.name == "pip" or part.name.startswith("pip-"):
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(part, library / "site-packages" / part.name, ignore=unwanted)
    run("chroot", root, "ldconfig")


def _site_packages() -> Path:
    """Where the pip is that installed us."""
    return Path(str(distribution("pip").locate_file("")))


def _options(folder: Path) -> Sequence[str]:
    """How the build runs: without a container's isolation, and without an index."""
    wheels = folder / "wheels"
    fetch(IMAGE, wheels)
    fetch(BUILD, wheels)
    settings = folder / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    mounts = (f"{wheels}:/wheels:ro", f"{settings}:/etc/pip.conf:ro")
    volumes = [word for mount in mounts for word in ("--volume", mount)]
    # Docker's own format, because OCI's has no HEALTHCHECK.
    how = [*_ISOLATION, "--network", "host", "--pull-never", "--format", "docker"]
    return [*how, "--layers=false", "--quiet", *volumes]


def _path() -> str:
    """Where administrators' tools are too: debootstrap, chroot, ldconfig."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"
