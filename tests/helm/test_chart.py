"""The chart: what it renders fits together, with the program and with its own documents."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar import __version__
from sidecar.checking import check
from sidecar.rules.source import NEEDS_RESTART
from tests.locks import ROOT
from tests.test_cli import free_ports, get, serving

from .rendering import CHART, VERSIONS, Helm, Manifest, mistake, only, pods
from .switches import SECRET, SWITCHES, VALUES, paths


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"

    def compare(schema: Manifest, value: Manifest, path: str) -> None:
        assert schema["additionalProperties"] is False, path
        known = schema["properties"].keys() - ({"global", "enabled"} if not path else set())
        assert value.keys() <= known, path
        for key, inner in value.items():
            if "properties" in schema["properties"][key]:
                compare(schema["properties"][key], inner, f"{path}.{key}")

    compare(schema, VALUES, "")
    assert VALUES.keys() == schema["properties"].keys() - {"global", "enabled"}


def test_the_readme_has_every_value() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    tables = set(re.findall(r"^\| `([\w.]+)` \|", readme, re.MULTILINE))
    assert {".".join(path) for path in paths(VALUES)} <= tables


def test_the_versions_are_those_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


CONFIG = """\
# A comment, and what looks like a template: {{ .Values.mode }}
upstream: {base_url: "${UPSTREAM_BASE_URL}", api_key: "${UPSTREAM_API_KEY:-}"}
formats: formats
status: {texts: {tools: {web_search: "Searching for “{args.query}”…"}}}
"""
FORMAT = """\
id: mine
models: [Mine]
sources: ["its chat template"]
groups: [all, reasoning]
why: only this model writes it
regions:
  - {channel: reasoning, open: ["<|plan|>"], close: ["<|/plan|>"]}
examples:
  - {name: plain, text: "<|plan|>Greet.<|/plan|>Hello!", visible: "Hello!", reasoning: "Greet."}
"""


@pytest.mark.parametrize(
    "values",
    [{}, {"config": CONFIG, "formats": {"mine": FORMAT}}, {"mode": "sidecar"}],
    ids=["nothing", "own", "sidecar"],
)
def test_what_is_mounted_passes_the_check(helm: Helm, values: Manifest, tmp_path: Path) -> None:
    manifests = helm.rendered(values)
    data = only(manifests, "ConfigMap")["data"]
    assert data["sidecar.yaml"] == values.get("config", VALUES["config"])
    items = [{"key": "sidecar.yaml", "path": "sidecar.yaml"}]
    if "formats" in values:
        items.append({"key": "formats.mine.yaml", "path": "formats/mine.yaml"})
    for pod in pods([each for each in manifests if each["kind"] == "Deployment"]):
        assert pod["volumes"][0]["configMap"] == {"name": "r-sidecar", "items": items}
    for item in items:
        path = tmp_path / item["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(data[item["key"]], encoding="utf-8")
    right, wrong = check([tmp_path / "sidecar.yaml"], {"UPSTREAM_BASE_URL": "http://u/v1"})
    assert wrong == []
    assert len(right) == len(items)


def test_a_configuration_is_checked_before_it_is_served(helm: Helm) -> None:
    values = SWITCHES["secret"] | SWITCHES["environment"]
    [pod] = pods([only(helm.rendered(values), "Deployment")])
    [checking], [serving] = pod["initContainers"], pod["containers"]
    assert checking["args"] == ["check", serving["args"][2]]
    for key in ("image", "env", "envFrom", "volumeMounts", "securityContext"):
        assert checking[key] == serving[key]


RESTARTS = {
    "reuse_port": "reuse_port: true",
    "tls": "tls: {certificate: a, key: b}",
    "drain": "drain: {timeout: 10m}",
}
"""Settings that roll the pods, by their keys: the last one because the grace follows it."""


def test_only_what_needs_a_restart_rolls_the_pods(helm: Helm) -> None:
    """All else is reloaded in them; and where they listen is the chart's to say."""

    def template(config: str, formats: Manifest) -> Any:
        values = {"config": f"formats: formats\n{config}\n", "formats": formats}
        return only(helm.rendered(values), "Deployment")["spec"]["template"]

    first = template("rules: []", {"a": "id: a"})
    assert first == template("models: [m]", {"a": "id: a\nmodels: [m]"})
    for settings in RESTARTS.values():
        assert first != template(settings, {"a": "id: a"})
    assert set(NEEDS_RESTART) - RESTARTS.keys() == {"listen", "admin"}


def test_a_secret_is_only_referred_to(helm: Helm) -> None:
    [pod] = pods([only(helm.rendered(SWITCHES["secret"]), "Deployment")])
    assert {"name": "UPSTREAM_API_KEY", "valueFrom": {"secretKeyRef": SECRET}} in (
        pod["containers"][0]["env"]
    )


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ("models: [m]\n", 315),
        ("drain: {delay: 10s, timeout: 10m}\n", 620),
        ("drain: {timeout: 1500ms}\n", 17),
        ("drain: {delay: 0, timeout: 1h}\n", 3610),
    ],
)
def test_the_grace_is_longer_than_the_drain(helm: Helm, config: str, seconds: int) -> None:
    [pod] = pods([only(helm.rendered({"config": config}), "Deployment")])
    assert pod["terminationGracePeriodSeconds"] == seconds


def test_every_pod_keeps_the_restricted_profile(helm: Helm) -> None:
    found = list(pods(helm.rendered()))
    assert len(found) == 2  # the gateway, and the one of `helm test`
    for pod in found:
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            context = container["securityContext"]
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] == 65532
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_probes_and_metrics_are_on_the_admin_port_alone(helm: Helm) -> None:
    manifests = helm.rendered({"admin": {"port": 9191}, "serviceMonitor": {"enabled": True}})
    [pod] = pods([only(manifests, "Deployment")])
    container = pod["containers"][0]
    paths = {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    for probe, path in paths.items():
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": 9191}
    assert container["args"][-2:] == ["--admin", "0.0.0.0:9191"]
    ports = {m["metadata"]["name"]: m["spec"]["ports"] for m in manifests if m["kind"] == "Service"}
    assert [port["targetPort"] for port in ports["r-sidecar"]] == [8080]
    assert [port["targetPort"] for port in ports["r-sidecar-metrics"]] == [9191]


@pytest.mark.parametrize(
    ("seconds", "share", "expression"),
    [
        (10, 0.99, 'label_replace(vector(0.99), "le", "10.0", "", "")'),
        (0.25, 0.999, 'label_replace(vector(0.999), "le", "0.25", "", "")'),
    ],
)
def test_the_objective_is_the_only_rule_that_values_change(
    helm: Helm, seconds: float, share: float, expression: str
) -> None:
    def rules(**objective: float) -> list[Manifest]:
        values = {"prometheusRule": {"enabled": True, "objective": objective}}
        groups = only(helm.rendered(values), "PrometheusRule")["spec"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    pairs = zip(rules(), rules(seconds=seconds, share=share), strict=True)
    [(before, after)] = [(one, other) for one, other in pairs if one != other]
    assert after == before | {"expr": expression}
    assert before["record"] == "sidecar:first_visible_token:objective"


@pytest.mark.parametrize("objective", [{"seconds": 3}, {"share": 0.9}, {"share": 1}])
def test_an_objective_that_could_never_alert_is_refused(
    helm: Helm, objective: dict[str, float]
) -> None:
    ended = helm.template({"prometheusRule": {"objective": objective}})
    assert ended.code != 0
    assert "prometheusRule.objective." in ended.err


def test_rules_and_dashboards_are_those_of_the_files(helm: Helm) -> None:
    groups = [
        group
        for file in sorted((CHART / "rules").glob("*.yaml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]
    rendered = only(helm.rendered(SWITCHES["rules"]), "PrometheusRule")["spec"]["groups"]
    assert rendered == groups
    maps = [m for m in helm.rendered(SWITCHES["dashboard"]) if m["kind"] == "ConfigMap"]
    [dashboard] = [m for m in maps if m["metadata"]["name"] == "r-sidecar-dashboard"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    files = (CHART / "dashboards").glob("*.json")
    assert (dashboard.get("data") or {}) == {f.name: f.read_text(encoding="utf-8") for f in files}


def notes(helm: Helm, folder: Path, values: Manifest) -> str:
    """What `helm install` would say, without a cluster to install in."""
    chart = folder / "sidecar"
    shutil.copytree(CHART, chart)
    shown = 'notes: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}\n'
    (chart / "templates" / "shown.yaml").write_text(shown, encoding="utf-8")
    [found] = [each["notes"] for each in helm.rendered(values, chart=chart) if "notes" in each]
    return str(found)


def test_the_notes_say_the_base_url_and_warn_of_placeholders(helm: Helm, tmp_path: Path) -> None:
    said = notes(helm, tmp_path, {})
    assert "http://r-sidecar.default.svc:80/v1" in said
    assert "upstream.baseUrl is still the placeholder" in said
    assert "image.repository is still the placeholder" in said


def test_the_notes_warn_of_nothing_where_all_is_set(helm: Helm, tmp_path: Path) -> None:
    ready = {"image": {"repository": "r.example/sidecar"}} | SWITCHES["secret"]
    said = notes(helm, tmp_path, ready | {"mode": "sidecar"})
    assert "http://127.0.0.1:8080/v1" in said
    assert "WARNING" not in said


def test_the_notes_warn_of_rules_that_hide_nothing(helm: Helm, tmp_path: Path) -> None:
    assert "nothing is filtered" in notes(helm, tmp_path, {"config": "rules: []\n"})


SET = {"UPSTREAM_BASE_URL": "http://u/v1", "MOBILE_KEY": "0123456789abcdef"}
"""The variables that the documents' configurations name."""


@pytest.mark.parametrize(
    ("document", "examples"),
    [(CHART / "README.md", 4), (ROOT / "README.md", 2)],
    ids=["chart", "root"],
)
def test_the_values_that_a_document_shows_are_right(
    helm: Helm, document: Path, examples: int, tmp_path: Path
) -> None:
    text = document.read_text(encoding="utf-8")
    shown = re.findall(r"```yaml\n *(# values.*?)```", text, re.DOTALL)
    assert len(shown) == examples
    for values in map(yaml.safe_load, shown):
        manifests = helm.rendered(values.get("sidecar", values))
        assert [mistake(manifest, VERSIONS[-1]) for manifest in manifests] == [""] * len(manifests)
        config = tmp_path / "sidecar.yaml"
        config.write_text(only(manifests, "ConfigMap")["data"]["sidecar.yaml"], encoding="utf-8")
        assert check([config], SET)[1] == []


def test_the_container_runs_as_it_is_rendered(helm: Helm, tmp_path: Path) -> None:
    listen, admin = free_ports(2)
    values = {"listen": {"port": listen}, "admin": {"port": admin}}
    manifests = helm.rendered(values)
    [container] = only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    config = tmp_path / "sidecar.yaml"
    config.write_text(only(manifests, "ConfigMap")["data"]["sidecar.yaml"], encoding="utf-8")
    verb, *arguments = [arg.replace("/etc/sidecar", str(tmp_path)) for arg in container["args"]]
    assert verb == "serve"
    variables = {each["name"]: each["value"] for each in container["env"]}
    with serving(*arguments, **variables) as running:
        ports = [int(address.rpartition(":")[2]) for address in (running.data, running.admin)]
        assert ports == [port["containerPort"] for port in container["ports"]]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert get(f"127.0.0.1:{asked['port']}", asked["path"])[0] == 200
