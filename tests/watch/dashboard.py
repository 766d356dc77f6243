"""Reads the dashboard as Grafana would: its panels, and their queries with values for variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .programs import DASHBOARD

VARIABLE = re.compile(r"\$\{?(\w+)\}?")

Json = dict[str, Any]


class Query(NamedTuple):
    """What one line of a panel asks, and the labels that its legend shows."""

    panel: str
    expression: str
    legend: frozenset[str]


def dashboard() -> Json:
    """The whole of it."""
    found: Json = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panels() -> list[Json]:
    """Those that show something, without the rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def variables() -> list[Json]:
    """What a person may choose on top."""
    found: list[Json] = dashboard()["templating"]["list"]
    return found


def queries(values: Mapping[str, str]) -> Iterator[Query]:
    """Those of all panels. ``values``: of every variable that they name."""

    def value(name: re.Match[str]) -> str:
        return values[name[1]]

    for panel in panels():
        for target in panel["targets"]:
            yield Query(
                panel["title"],
                VARIABLE.sub(value, target["expr"]),
                frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])),
            )


def choices(values: Mapping[str, str]) -> Iterator[Query]:
    """What Prometheus is asked for the choices of each variable."""
    for variable in variables():
        if variable["type"] != "query":
            continue
        asked = VARIABLE.sub(lambda name: values[name[1]], variable["query"]["query"])
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", asked)
        assert found is not None, asked
        expression = f"group by ({found[2]}) ({found[1]})"
        yield Query(f"variable {variable['name']}", expression, frozenset({found[2]}))
