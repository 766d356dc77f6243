"""The locks of ``.ci/locks`` are complete and fit ``pyproject.toml``; ``.ci/lock`` writes them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.locks import BUILD, DEV, IMAGE, ROOT, pins

CLIENTS = ROOT / "tests" / "clients" / "python"
DUE = "run .ci/lock"

with (ROOT / "pyproject.toml").open("rb") as file:
    PYPROJECT: dict[str, Any] = tomllib.load(file)

EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
RUNTIME: list[str] = [
    *PYPROJECT["project"]["dependencies"],
    *EXTRAS["fast"],
    *EXTRAS["otel"],
]
DEVELOPMENT: list[str] = [
    *RUNTIME,
    *EXTRAS["test"],
    *PYPROJECT["build-system"]["requires"],
    *PYPROJECT["dependency-groups"]["tools"],
]
OF_CLIENTS = (CLIENTS / "requirements.in").read_text(encoding="utf-8").splitlines()

per_lock = pytest.mark.parametrize(
    ("lock", "direct"),
    [
        (IMAGE, RUNTIME),
        (BUILD, PYPROJECT["build-system"]["requires"]),
        (DEV, DEVELOPMENT),
        (CLIENTS / "requirements.txt", OF_CLIENTS),
    ],
    ids=["image", "build", "dev", "clients"],
)


@per_lock
def test_every_direct_dependency_is_locked_at_a_version_that_is_allowed(
    lock: Path, direct: Sequence[str]
) -> None:
    locked = pins(lock)
    for requirement in map(Requirement, direct):
        pin = locked.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in {lock.name}: {DUE}"
        assert requirement.specifier.contains(pin.version, prereleases=True), (
            f"{lock.name} has {pin.requirement}, and {requirement} is asked for: {DUE}"
        )


@per_lock
def test_every_package_has_one_version_and_hashes_that_are_sha256(
    lock: Path, direct: Sequence[str]
) -> None:
    for name, pin in pins(lock).items():
        [specifier] = pin.requirement.specifier
        assert specifier.operator == "==", name
        assert pin.hashes, name
        assert all(
            kind == "sha256" and len(digest) == 64
            for kind, _, digest in (each.partition(":") for each in pin.hashes)
        ), name


@per_lock
def test_a_lock_names_no_host_and_no_path_of_the_machine_that_made_it(
    lock: Path, direct: Sequence[str]
) -> None:
    words = lock.read_text(encoding="utf-8").split()
    assert not [word for word in words if "://" in word or word.startswith("/")]
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert options <= {"--hash", "-r", "-c"}  # the last two in comments: where a package comes from


def test_what_is_tested_is_what_the_image_has() -> None:
    # So an installation of the one proves the hashes of the other.
    image, dev = pins(IMAGE) | pins(BUILD), pins(DEV)
    assert {name: dev.get(name) for name in image} == image


def test_the_image_has_all_that_its_packages_ask_for_in_turn() -> None:
    # As the packages say that are installed here; so on this machine and this CPython.
    locked = pins(IMAGE)
    waiting = list(map(Requirement, RUNTIME))
    for requirement in waiting:  # which grows
        for extra in requirement.extras or {""}:
            for asked in map(Requirement, requires(requirement.name) or ()):
                applies = asked.marker is None or asked.marker.evaluate({"extra": extra})
                if applies and asked not in waiting:
                    waiting.append(asked)
    assert len(waiting) > len(RUNTIME)
    for asked in waiting:
        pin = locked.get(canonicalize_name(asked.name))
        assert pin is not None, asked
        assert asked.specifier.contains(pin.version, prereleases=True), asked


def test_the_packages_of_node_are_those_of_the_manifest_with_hashes_and_from_no_host() -> None:
    folder = ROOT / "tests" / "clients" / "node"
    manifest = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())["packages"]
    top = lock.pop("")
    for kind in ("dependencies", "optionalDependencies"):
        assert top[kind] == manifest[kind], DUE
        for name, wanted in manifest[kind].items():
            assert lock[f"node_modules/{name}"]["version"] == wanted, DUE
    assert all(package["integrity"].startswith("sha512-") for package in lock.values())
    assert not [name for name, package in lock.items() if "resolved" in package]
