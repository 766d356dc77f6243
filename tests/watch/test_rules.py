"""The rules, before promtool: they are right, and each alert fires when it must and only then."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sidecar.metrics import Labels, Metrics
from tests.helm.rendering import CHART
from tests.locks import ROOT

from .programs import ALERTS, DASHBOARD, RECORDING, program

UNIT_TESTS: Final = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))
"""What promtool is given to try each alert on."""


def promtool(*arguments: str | Path) -> str:
    """What it says of files that are right."""
    ended = subprocess.run(
        [program("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in read(file)["groups"] for rule in group["rules"]]


def test_the_rules_are_right() -> None:
    assert promtool("check", "rules", RECORDING, ALERTS).count("SUCCESS") == 2


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_must_and_only_then(file: Path) -> None:
    promtool("test", "rules", file)


@pytest.mark.parametrize(
    ("name", "severity"),
    [(rule["alert"], rule["labels"]["severity"]) for rule in rules(ALERTS)],
    ids="-".join,
)
def test_every_alert_is_tried_both_ways(name: str, severity: str) -> None:
    """Somewhere it must fire, and somewhere it must not."""
    fires = [
        any(alert["exp_labels"]["severity"] == severity for alert in case["exp_alerts"])
        for file in UNIT_TESTS
        for test in read(file)["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert set(fires) == {True, False}


@pytest.mark.parametrize("rule", rules(ALERTS), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.search(r"\. \S|; ", rule["annotations"]["summary"]), "it says no more than what is"


def test_the_readme_has_every_alert() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(Sidecar\w+)`", readme)) == {rule["alert"] for rule in rules(ALERTS)}


def test_every_recorded_name_is_used() -> None:
    """By an alert, the dashboard or another rule."""
    expressions = [rule["expr"] for rule in rules(ALERTS) + rules(RECORDING)]
    used = "\n".join([*expressions, DASHBOARD.read_text(encoding="utf-8")])
    for rule in rules(RECORDING):
        assert re.search(rf"(?<![\w:]){rule['record']}(?![\w:])", used), rule["record"]


def test_the_objective_is_a_bound_of_the_buckets() -> None:
    """The file's and every one that the chart's values may have; any other would be no series."""
    metrics = Metrics()
    metrics.first("first_visible_token", Labels("chat", "r", "m"), 1.0, None)
    exposed = metrics.render("")[0].decode()
    metric = "sidecar_time_to_first_visible_token_seconds_bucket"
    bounds = set(re.findall(rf'^{metric}{{.*\ble="([^"]+)"', exposed, re.MULTILINE))
    [objective] = [r for r in rules(RECORDING) if r["record"].endswith(":objective")]
    found = re.search(r'"le", "([^"]+)"', objective["expr"])
    assert found is not None
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    section = schema["properties"]["prometheusRule"]["properties"]["objective"]["properties"]
    allowed = {str(float(seconds)) for seconds in section["seconds"]["enum"]}
    assert {found[1]} <= allowed <= bounds
