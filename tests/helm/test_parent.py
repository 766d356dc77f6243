"""The chart as a dependency, and without Helm: a container beside others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sidecar.checking import check

from .rendering import EXAMPLES, SIDECAR_VERSIONS, Helm, Manifest, mistake, only, pods

NATIVE = """\
apiVersion: v1
kind: Pod
metadata:
  name: app
  annotations: {{- include "sidecar.podAnnotations" .Subcharts.sidecar | nindent 4 }}
spec:
  initContainers:
    {{- include "sidecar.checkContainer" .Subcharts.sidecar | nindent 4 }}
    {{- include "sidecar.nativeContainer" .Subcharts.sidecar | nindent 4 }}
  containers:
    - {name: app, image: app}
  volumes: {{- include "sidecar.volumes" .Subcharts.sidecar | nindent 4 }}
"""
KUSTOMIZE = EXAMPLES / "kustomize"


def all_right(manifests: list[Manifest]) -> bool:
    return not any(mistake(each, version) for each in manifests for version in SIDECAR_VERSIONS)


def test_the_example_puts_it_in_front_of_the_model(helm: Helm, vllm: Path) -> None:
    assert helm.run("lint", "--strict", vllm).code == 0
    manifests = helm.rendered(chart=vllm)
    assert all_right(manifests)
    [pod] = pods(manifests)
    assert [each["name"] for each in pod["containers"]] == ["sidecar", "vllm"]
    sidecar, model = pod["containers"]
    # The Service leads to the sidecar, and nobody but the sidecar to the model.
    [port] = only(manifests, "Service")["spec"]["ports"]
    assert sidecar["args"][4] == f"0.0.0.0:{port['targetPort']}"
    assert model["args"][2:] == ["--host", "127.0.0.1", "--port", "8000"]
    assert {"name": "UPSTREAM_BASE_URL", "value": "http://127.0.0.1:8000/v1"} in sidecar["env"]
    # What is mounted is there.
    assert (
        pod["volumes"][0]["configMap"]["name"] == only(manifests, "ConfigMap")["metadata"]["name"]
    )


def test_the_model_waits_until_the_sidecar_has_gone(helm: Helm, vllm: Path) -> None:
    [pod] = pods(helm.rendered({"sidecar": {"config": "drain: {timeout: 10m}\n"}}, chart=vllm))
    assert pod["terminationGracePeriodSeconds"] == 615
    python, flag, code = pod["containers"][1]["lifecycle"]["preStop"]["exec"]["command"]
    assert (python, flag) == ("python3", "-c")
    assert '("127.0.0.1", 9090)' in code
    compile(code, "preStop", "exec")


def test_a_native_sidecar_starts_before_the_application(helm: Helm, vllm: Path) -> None:
    (vllm / "templates" / "vllm.yaml").write_text(NATIVE, encoding="utf-8")
    values = {"sidecar": {"listen": {"address": ""}}}
    manifests = helm.rendered(values, chart=vllm)
    assert all_right(manifests)
    checking, native = only(manifests, "Pod")["spec"]["initContainers"]
    assert "restartPolicy" not in checking
    assert native["restartPolicy"] == "Always"
    assert native["args"][4] == "127.0.0.1:8080"


def test_a_native_sidecar_is_refused_where_it_would_never_let_the_pod_start(
    helm: Helm, vllm: Path
) -> None:
    (vllm / "templates" / "vllm.yaml").write_text(NATIVE, encoding="utf-8")
    ended = helm.template(chart=vllm, version="1.28")
    assert ended.code != 0
    assert "sidecar.nativeContainer needs Kubernetes 1.29" in ended.err


def test_a_typo_in_the_values_of_the_dependency_is_refused(helm: Helm, vllm: Path) -> None:
    ended = helm.template({"sidecar": {"upstrem": {}}}, chart=vllm)
    assert ended.code != 0
    assert "upstrem" in ended.err


@pytest.fixture(scope="module")
def component() -> list[Manifest]:
    """What Kustomize makes of the example."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_KUBECTL" in os.environ else pytest.skip
        refuse("kubectl is not installed")
    ended = subprocess.run(
        [kubectl, "kustomize", str(KUSTOMIZE / "app")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return list(yaml.safe_load_all(ended.stdout))


def test_the_component_gives_an_application_its_sidecar(component: list[Manifest]) -> None:
    assert all_right(component)
    [pod] = pods(component)
    assert [each["name"] for each in pod["initContainers"]] == ["sidecar-check", "sidecar"]
    assert [each["name"] for each in pod["containers"]] == ["app"]
    name = only(component, "ConfigMap")["metadata"]["name"]
    assert name.startswith("sidecar-config-")  # and a hash, which rolls the pods
    assert pod["volumes"] == [{"name": "sidecar-config", "configMap": {"name": name}}]


def test_the_component_is_what_the_chart_renders(
    helm: Helm, vllm: Path, component: list[Manifest]
) -> None:
    (vllm / "templates" / "vllm.yaml").write_text(NATIVE, encoding="utf-8")
    values = {"sidecar": {"listen": {"address": ""}}}
    rendered = only(helm.rendered(values, chart=vllm), "Pod")["spec"]["initContainers"]
    patched = only(component, "Deployment")["spec"]["template"]["spec"]["initContainers"]
    for chart, plain in zip(rendered, patched, strict=True):
        for key in ("name", "image", "args", "volumeMounts", "resources", "securityContext"):
            assert plain[key] == chart[key]
        assert plain.get("restartPolicy") == chart.get("restartPolicy")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert plain.get(probe, {}).get("httpGet") == chart.get(probe, {}).get("httpGet")


def test_the_configuration_of_the_component_is_right() -> None:
    right, wrong = check([KUSTOMIZE / "component" / "sidecar.yaml"], {})
    assert (len(right), wrong) == (1, [])
