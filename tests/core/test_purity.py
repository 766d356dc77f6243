"""The engine is pure: bytes in, bytes out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sidecar

IMPURE = {"asyncio", "aiohttp", "yaml", "prometheus_client", "logging", "pydantic", "click"}
ROOT = Path(sidecar.__file__).parent
OURS = sorted(
    f"sidecar.{path.parent.name}.{path.stem}"
    for package in ("core", "wire", "dialects")
    for path in (ROOT / package).glob("*.py")
    if path.stem != "__init__"
)


def imported(code: str) -> set[str]:
    """What a fresh interpreter has imported after ``code``."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT.parent,
        capture_output=True,
        check=True,
        text=True,
    )
    return set(json.loads(found.stdout))


@pytest.mark.parametrize("module", OURS)
def test_a_module_of_the_engine_imports_nothing_that_waits_reads_files_or_logs(module: str) -> None:
    without_ours = imported("import orjson")
    assert not (imported(f"import {module}") - without_ours) & IMPURE


def test_the_modules_of_the_engine_were_found() -> None:
    assert {"sidecar.core.lane", "sidecar.core.stream", "sidecar.wire.chat"} <= set(OURS)
