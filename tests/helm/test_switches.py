"""Every value of the chart: it renders what Kubernetes takes, and a wrong one is refused."""

from __future__ import annotations

from copy import deepcopy

import pytest

from .rendering import CHART, CUSTOM, VERSIONS, Helm, Manifest, mistake, only
from .switches import ADDS, SWITCHES, VALUES, paths


@pytest.mark.parametrize("switch", ["nothing", *SWITCHES])
def test_it_lints_and_renders_what_kubernetes_takes(helm: Helm, switch: str) -> None:
    values = SWITCHES.get(switch, {})
    said = helm.run("lint", "--strict", CHART, values=values)
    assert said.code == 0, said.out
    for version in VERSIONS:
        manifests = helm.rendered(values, version=version)
        assert manifests
        for manifest in manifests:
            assert mistake(manifest, version) == "", (manifest["kind"], version)


def test_there_is_a_switch_for_every_value() -> None:
    switched = {path for values in SWITCHES.values() for path in paths(values)}
    assert switched == set(paths(VALUES))


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_value_of_a_switch_has_an_effect(helm: Helm, switch: str) -> None:
    values = SWITCHES[switch]
    with_all = helm.template(values)
    for *section, key in paths(values):
        without = deepcopy(values)
        holder = without
        for name in section:
            holder = holder[name]
        del holder[key]
        assert helm.template(without) != with_all, (*section, key)


@pytest.mark.parametrize("switch", ADDS)
def test_what_a_switch_adds_is_not_there_without_it(helm: Helm, switch: str) -> None:
    kind = ADDS[switch]
    assert only(helm.rendered(SWITCHES[switch]), kind)["metadata"]["name"] == "r-sidecar"
    assert kind not in {manifest["kind"] for manifest in helm.rendered()}


def test_the_schemas_would_refuse_a_field_that_is_misspelt(helm: Helm) -> None:
    deployment = only(helm.rendered(), "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container["livenesProbe"] = container.pop("livenessProbe")
    assert "livenesProbe" in mistake(deployment, VERSIONS[0])


def test_custom_resources_say_which_group_they_are_of(helm: Helm) -> None:
    groups = {"HTTPRoute": "gateway.networking.k8s.io/v1"}
    for switch in ADDS:
        for manifest in helm.rendered(SWITCHES[switch]):
            if manifest["kind"] in CUSTOM:
                group = groups.get(manifest["kind"], "monitoring.coreos.com/v1")
                assert manifest["apiVersion"] == group


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replcas": 3}, "replcas"),
        ({"upstream": {"baseURL": "http://u/v1"}}, "baseURL"),
        ({"upstream": {"baseUrl": "u:8000"}}, "baseUrl"),
        ({"mode": "deployment"}, "mode"),
        ({"listen": {"port": 70000}}, "port"),
        ({"config": {"version": 1}}, "config"),
        ({"podDisruptionBudget": {"maxUnavailable": "a few"}}, "maxUnavailable"),
        ({"serviceMonitor": {"interval": "often"}}, "interval"),
        ({"config": "a: [\n"}, "config: is not YAML"),
        ({"config": "drain: {delay: soon}\n"}, "config: drain.delay: found 'soon'"),
        ({"config": "drain: {timeout: '${T}'}\n"}, "or set terminationGracePeriodSeconds"),
        ({"formats": {"mine": "id: mine"}}, "add `formats: formats` to it"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: name the Gateway"),
        ({"autoscaling": {"enabled": True, "cpu": None}}, "set cpu, streamsInFlight or both"),
        ({"admin": {"port": 8080}}, "listen.port and admin.port are both 8080"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_refused_and_named(helm: Helm, values: Manifest, said: str) -> None:
    ended = helm.template(values)
    assert ended.code != 0
    assert said in ended.err


def test_what_helm_shares_between_charts_is_allowed(helm: Helm) -> None:
    assert helm.template({"global": {"anything": True}}) == helm.template()
