"""Runs Helm and reads what it prints; judges it by the schemas of Kubernetes."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from tests.locks import ROOT

CHART: Final = ROOT / "helm" / "sidecar"
EXAMPLES: Final = ROOT / "helm" / "examples"

SIDECAR_VERSIONS: Final = ("1.29", "1.33", "1.37")
"""Of Kubernetes: the first with native sidecars, the one that calls them stable, a new one."""
VERSIONS: Final = ("1.27", *SIDECAR_VERSIONS)
"""And the first that the chart is for."""

CUSTOM: Final = frozenset({"HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"})
"""Kinds that are not Kubernetes' own, so that it has no schema of them."""

Manifest: TypeAlias = dict[str, Any]


class Said(NamedTuple):
    """How Helm ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Helm:
    """The command."""

    binary: Path

    def run(self, *arguments: str | Path, values: Manifest | None = None) -> Said:
        """Run it to its end; ``values`` go into a file of values."""
        with tempfile.TemporaryDirectory() as home:
            given = list(map(str, arguments))
            if values is not None:
                file = Path(home) / "values.yaml"
                file.write_text(yaml.safe_dump(values), encoding="utf-8")
                given += ["--values", str(file)]
            ended = subprocess.run(
                [str(self.binary), *given],
                capture_output=True,
                text=True,
                env={"HOME": home, "PATH": "/usr/bin:/bin"},
                timeout=60,
                check=False,
            )
        return Said(ended.returncode, ended.stdout, ended.stderr)

    def template(
        self, values: Manifest | None = None, *, chart: Path = CHART, version: str = "1.33"
    ) -> Said:
        """Render a chart, as the release ``r``."""
        kubernetes = ("--kube-version", f"{version}.0")
        return self.run("template", "r", chart, *kubernetes, values=values)

    def rendered(
        self, values: Manifest | None = None, *, chart: Path = CHART, version: str = "1.33"
    ) -> list[Manifest]:
        """The manifests of a chart that renders."""
        said = self.template(values, chart=chart, version=version)
        assert said.code == 0, said.err
        return [found for found in yaml.safe_load_all(said.out) if found is not None]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """The one manifest of a kind."""
    [found] = [each for each in manifests if each["kind"] == kind]
    return found


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """The specification of each pod."""
    for each in manifests:
        if each["kind"] == "Pod":
            yield each["spec"]
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]


def mistake(manifest: Manifest, version: str) -> str:
    """What a version of Kubernetes would refuse first, an unknown field too; empty if nothing."""
    if manifest["kind"] in CUSTOM:
        return ""
    return _mistake(json.dumps(manifest), version)


@cache
def _mistake(text: str, version: str) -> str:
    # Most manifests are the same for many values, and the schemas are large.
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{error.json_path}: {error.message}"
    return ""
