"""The chart has a bar for each target that was measured, and is well formed."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.bench import targets
from tests.bench.plot import plot
from tests.bench.results import Results
from tests.bench.test_results import rounds

_SVG = "{http://www.w3.org/2000/svg}"


def test_each_target_has_a_bar_and_its_number() -> None:
    flood = {
        targets.NGINX.name: rounds(1.0),
        targets.PASS_THROUGH.name: rounds(2.0),
        targets.DEFAULT.name: rounds(9.0),
    }
    processes = {targets.DEFAULT.name: rounds(9.0)}
    svg = ElementTree.fromstring(plot(Results({"flood": flood, "processes": processes})))
    texts = [text.text for text in svg.iter(f"{_SVG}text")]
    assert "flood" in texts
    assert "processes" not in texts  # no pass-through was measured there
    legend = 3
    assert len(list(svg.iter(f"{_SVG}rect"))) == legend + 2
    assert {"0.50", "4.50"} <= set(texts)
