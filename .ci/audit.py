"""Licences and known vulnerabilities of what is locked. Run it in the environment of
``.ci/locks/dev.txt``: ``.venv/bin/python .ci/audit.py``.

Fails if a package of the image has a licence that is not in :data:`LICENCES`, or if a package of
either lock has a known vulnerability. Where no service can be asked for vulnerabilities it says so
and passes, because no change of ours can help it; with ``SIDECAR_REQUIRE_AUDIT=1`` that fails too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS: Final = Path(__file__).parent / "locks"

LICENCES: Final = frozenset(
    {
        "3-Clause BSD License",
        "Apache Software License",
        "Apache Software License; MIT License",
        "Apache-2.0",
        "Apache-2.0 AND BSD-2-Clause",
        "Apache-2.0 AND MIT",
        "BSD-3-Clause",
        "MIT",
        "MIT License",
        # Copyleft by file, and we change none of theirs.
        "MPL-2.0 AND (Apache-2.0 OR MIT)",
        "Mozilla Public License 2.0 (MPL 2.0)",
        "PSF-2.0",
        "Python Software Foundation License",
    }
)
"""What may be shipped beside Apache-2.0, as pip-licenses spells it."""

SERVICES: Final = ("pypi", "osv")
"""Asked in turn, until one has answered for every package: a mirror of an index knows nothing of
vulnerabilities."""

PATIENCE: Final = 120.0
"""Seconds for one of them."""


class Audit(NamedTuple):
    """What a service said."""

    vulnerable: list[str]
    """A sentence for each vulnerability."""
    unknown: int
    """Packages that it said nothing of."""


def main() -> int:
    """The exit status."""
    wrong = list(licence_mistakes(_required(LOCKS / "image.txt"), _licences()))
    audits = list(_audits())
    wrong += sorted({sentence for audit in audits for sentence in audit.vulnerable})
    unknown = min(audit.unknown for audit in audits)
    for sentence in wrong:
        print(f"audit: {sentence}", file=sys.stderr)
    if unknown:
        print(
            f"audit: NOT AUDITED: no service could be asked for the vulnerabilities of {unknown} "
            "packages. SIDECAR_REQUIRE_AUDIT=1 makes this fail.",
            file=sys.stderr,
        )
    elif not wrong:
        print("audit: no known vulnerability, and every licence fits")
    return int(bool(wrong or (unknown and os.environ.get("SIDECAR_REQUIRE_AUDIT") == "1")))


def licence_mistakes(required: Sequence[str], installed: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each package that is not installed, or whose licence may not be shipped."""
    for name in required:
        licence = installed.get(name)
        if licence is None:
            yield f"{name} is in image.txt and not installed: install .ci/locks/dev.txt"
        elif licence not in LICENCES:
            yield f"{name} has the licence {licence!r}, which .ci/audit.py does not allow"


def read_audit(report: str | None, packages: int) -> Audit:
    """What pip-audit's JSON says; None stands for a service that could not be asked."""
    listed = json.loads(report)["dependencies"] if report is not None else []
    known = [package for package in listed if "skip_reason" not in package]
    vulnerable = [
        f"{package['name']} {package['version']} has {found['id']}, fixed in "
        + (", ".join(found["fix_versions"]) or "no version yet")
        for package in known
        for found in package["vulns"]
    ]
    return Audit(vulnerable, packages - len(known))


def _audits() -> Iterator[Audit]:
    """What the services said, up to the first that knew everything."""
    lock = LOCKS / "dev.txt"
    packages = len(_required(lock))
    for service in SERVICES:
        audit = read_audit(_ask(service, lock), packages)
        yield audit
        if not audit.unknown:
            return


def _ask(service: str, lock: Path) -> str | None:
    """pip-audit's report, or None if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        output = ["--vulnerability-service", service, "--format", "json", "--output", str(report)]
        command = [sys.executable, "-m", "pip_audit", *options, *output, "--requirement", str(lock)]
        try:
            subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return None
        return report.read_text(encoding="utf-8") if report.exists() else None


def _licences() -> dict[str, str]:
    """The licence of each package that is installed."""
    command = [sys.executable, "-m", "piplicenses", "--from", "mixed", "--format", "json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return {canonicalize_name(package["Name"]): package["License"] for package in found}


def _required(lock: Path) -> list[str]:
    """The packages of a lock that are for this machine."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    return [
        canonicalize_name(pin.name) for pin in pins if pin.marker is None or pin.marker.evaluate()
    ]


if __name__ == "__main__":
    sys.exit(main())
