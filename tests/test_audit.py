"""What ``.ci/audit.py`` makes of the reports of its tools: silence is never taken for health."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.locks import IMAGE, ROOT

_SPEC = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
assert _SPEC is not None
assert _SPEC.loader is not None
audit: Final[Any] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

HEALTHY = {"name": "yarl", "version": "1.25.1", "vulns": []}
SKIPPED = {"name": "idna", "skip_reason": "Dependency not found"}
ILL = {
    "name": "aiohttp",
    "version": "3.9.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["3.9.2", "3.10"]},
        {"id": "PYSEC-2", "fix_versions": []},
    ],
}


def report(*packages: Mapping[str, object]) -> str:
    """As pip-audit writes it."""
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_told_with_the_version_that_is_free_of_it() -> None:
    assert audit.read_audit(report(HEALTHY, ILL), 2).vulnerable == [
        "aiohttp 3.9.0 has PYSEC-1, fixed in 3.9.2, 3.10",
        "aiohttp 3.9.0 has PYSEC-2, fixed in no version yet",
    ]


@pytest.mark.parametrize(
    ("said", "unknown"),
    [
        (report(HEALTHY, ILL), 0),
        (report(HEALTHY, SKIPPED), 1),  # a mirror that has packages and no advisories
        (report(HEALTHY), 1),
        (report(), 2),
        (None, 2),  # a service that cannot be reached
    ],
)
def test_a_package_that_nothing_was_said_of_is_not_audited(said: str | None, unknown: int) -> None:
    assert audit.read_audit(said, 2).unknown == unknown


@pytest.mark.parametrize(
    ("answers", "strict", "status"),
    [
        ([report(HEALTHY, HEALTHY)], True, 0),
        ([report(SKIPPED), report(HEALTHY, HEALTHY)], True, 0),  # the second service knows
        ([report(SKIPPED), None], False, 0),
        ([report(SKIPPED), None], True, 1),
        ([report(SKIPPED, ILL), None], False, 1),  # what the first one knew is not forgotten
        ([report(HEALTHY, ILL)], False, 1),
    ],
)
def test_it_fails_for_what_is_known_and_if_told_so_for_what_is_not(
    answers: list[str | None], strict: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(answers)
    monkeypatch.setattr(audit, "_ask", lambda *_: next(left))
    monkeypatch.setattr(audit, "_required", lambda _: ["yarl", "aiohttp"])
    monkeypatch.setattr(audit, "_licences", lambda: {"yarl": "MIT", "aiohttp": "MIT"})
    monkeypatch.setenv("SIDECAR_REQUIRE_AUDIT", "1" if strict else "")
    assert audit.main() == status


def test_what_could_not_be_audited_is_said_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "_ask", lambda *_: None)
    monkeypatch.setattr(audit, "_licences", lambda: dict.fromkeys(audit._required(IMAGE), "MIT"))
    monkeypatch.delenv("SIDECAR_REQUIRE_AUDIT", raising=False)
    assert audit.main() == 0
    assert "NOT AUDITED" in capsys.readouterr().err


def test_a_licence_is_allowed_by_name_and_a_package_must_be_there_to_be_judged() -> None:
    installed = {"yarl": "Apache-2.0", "multidict": "GPL-3.0-only", "orjson": "UNKNOWN"}
    assert list(audit.licence_mistakes(["yarl"], installed)) == []
    assert list(audit.licence_mistakes(["idna", "multidict", "orjson"], installed)) == [
        "idna is in image.txt and not installed: install .ci/locks/dev.txt",
        "multidict has the licence 'GPL-3.0-only', which .ci/audit.py does not allow",
        "orjson has the licence 'UNKNOWN', which .ci/audit.py does not allow",
    ]
