"""What the lock files pin, read as pip reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
IMAGE: Final = ROOT / ".ci" / "locks" / "image.txt"
BUILD: Final = ROOT / ".ci" / "locks" / "build.txt"
DEV: Final = ROOT / ".ci" / "locks" / "dev.txt"


class Pin(NamedTuple):
    """One package of a lock."""

    requirement: Requirement
    """Its name, ``==`` its version, and where it is wanted."""
    hashes: frozenset[str]
    """Of every file that it may be installed from."""

    @property
    def version(self) -> str:
        [specifier] = self.requirement.specifier
        return specifier.version


def pins(lock: Path) -> dict[str, Pin]:
    """By the normalised name of the package."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    found: dict[str, Pin] = {}
    for line in lines:
        wanted, *hashes = line.split(" --hash=")
        requirement = Requirement(wanted)
        found[canonicalize_name(requirement.name)] = Pin(
            requirement, frozenset(each.strip() for each in hashes)
        )
    return found
