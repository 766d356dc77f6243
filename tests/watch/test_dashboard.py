"""The dashboard: Grafana can show it, it explains itself, and it leaves no metric out."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any, Final

import pytest

from tests.server.scripted import proxied
from tests.server.test_access import ACCESS

from .dashboard import VARIABLE, dashboard, panels, variables
from .programs import ALERTS, RECORDING

NOT_SHOWN: Final = {
    "process_virtual_memory_bytes": "address space, which costs nothing",
    "python_info": "of which version it is, and not how it is",
    "python_gc_objects_collected_total": "for whoever works on the sidecar",
    "python_gc_objects_uncollectable_total": "for whoever works on the sidecar",
    "python_gc_collections_total": "for whoever works on the sidecar",
    "sidecar_dropped_log_lines_total": "the log itself says so once it is read again",
}
"""The metrics that no panel shows, and why."""

GRAFANAS_OWN: Final = {"datasource", "__rate_interval"}

PLACES: Final = [(panel["title"], panel["gridPos"]) for panel in dashboard()["panels"]]


@pytest.fixture
async def exported() -> dict[str, set[str]]:
    """The metrics of a sidecar by their names, each with those of its series."""
    suffixes = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    async with proxied(access=ACCESS) as rig:
        types = re.findall(r"^# TYPE (\w+) (\w+)$", await rig.scrape(), re.MULTILINE)
    return {name: {name + suffix for suffix in suffixes[kind]} for name, kind in types}


def named(text: str) -> set[str]:
    """The names of metrics in expressions, without those of recording rules."""
    return set(re.findall(r"(?<![\w:])(?:sidecar|process|python)_\w+(?![\w:])", text))


def shown() -> set[str]:
    return named(" ".join(target["expr"] for panel in panels() for target in panel["targets"]))


def test_every_name_is_one_that_is_exported(exported: dict[str, set[str]]) -> None:
    series = set().union(*exported.values())
    assert shown() <= series
    for file in (RECORDING, ALERTS):
        text = file.read_text(encoding="utf-8")
        expressions = re.sub(r"^ *(- alert|- record|summary|description):.*", "", text, flags=re.M)
        assert named(expressions) <= series


def test_every_metric_that_is_exported_is_shown(exported: dict[str, set[str]]) -> None:
    left_out = {name for name, series in exported.items() if not series & shown()}
    assert left_out == NOT_SHOWN.keys()


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_tells(panel: dict[str, Any]) -> None:
    """And asks the data source that was chosen, in lines that it can tell apart."""
    assert panel["description"].endswith(".")
    assert panel["description"] != panel["title"]
    assert panel["datasource"]["uid"] == "${datasource}"
    names = [target["refId"] for target in panel["targets"]]
    assert len(set(names)) == len(names) > 0
    if panel["type"] != "heatmap":
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_every_variable_that_is_named_may_be_chosen() -> None:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    found = {name for expression in asked for name in VARIABLE.findall(expression)}
    assert found | GRAFANAS_OWN == {each["name"] for each in variables()} | GRAFANAS_OWN


def test_panels_have_an_id_and_a_place_of_their_own() -> None:
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    for (one, a), (other, b) in combinations(PLACES, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{one} covers {other}"
    for title, place in PLACES:
        assert place["x"] + place["w"] <= 24, title
