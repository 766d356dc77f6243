"""What the tests of the chart share: Helm, and what it renders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .helm_setup import prepared_helm
from .rendering import CHART, EXAMPLES, Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm, with folders of its own for what it keeps."""
    binary = prepared_helm()
    if binary is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_HELM" in os.environ else pytest.skip
        refuse("there is no Helm here, and npm, which has it for Linux on x86-64, gives none")
    return Helm(binary)


@pytest.fixture
def vllm(helm: Helm, tmp_path: Path) -> Path:
    """The example of a parent chart, with what it depends on, as its README says to get it."""
    shutil.copytree(CHART, tmp_path / "sidecar")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    chart = tmp_path / "examples" / "vllm"
    assert helm.run("dependency", "update", chart).code == 0
    return chart
