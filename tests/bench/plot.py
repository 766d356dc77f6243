"""The processor time of an event, by workload, as a bar chart in SVG: the pass-through's is 1."""

from __future__ import annotations

from html import escape

from tests.bench import targets
from tests.bench.results import CPU_PER_EVENT, Results, ratio

_BARS = (
    (targets.NGINX.name, "nginx", "#8b949e"),
    (targets.NO_RULE.name, "sidecar, no rule", "#58a6a6"),
    (targets.DEFAULT.name, "sidecar, default rules", "#d2804a"),
)
_SKIPPED = frozenset({"first", "statuses"})
"""Workloads that say nothing about events."""

_WIDTH, _LEFT, _TOP = 760, 110, 64
_BAR, _GAP = 13, 12
_MOST = 3.0
"""Times the pass-through: a longer bar is cut off there, and says by its number what it is."""

_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .line { stroke: #8b949e }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }"""


def plot(results: Results) -> str:
    """The chart of all workloads that a pass-through was measured in."""
    parts = [_legend()]
    y = _TOP
    for name, measured in results.workloads.items():
        bare = measured.get(targets.PASS_THROUGH.name)
        if bare is None or name in _SKIPPED:
            continue
        bars = [
            (ratio(measured[target], bare, CPU_PER_EVENT), colour)
            for target, _, colour in _BARS
            if target in measured
        ]
        middle = y + len(bars) * _BAR / 2 + 4
        parts.append(_text(_LEFT - 8, middle, name, "end"))
        for value, colour in bars:
            width = _x(min(value, _MOST)) - _LEFT
            parts.append(_rect(_LEFT, y, width, _BAR - 1, colour))
            parts.append(_text(_LEFT + width + 5, y + _BAR - 2, f"{value:.2f}"))
            y += _BAR
        y += _GAP
    one = _x(1)
    # First, so that it is behind the bars and their numbers.
    parts.insert(0, f'<path class="line" d="M{one:.1f} {_TOP - 6}V{y}" stroke-dasharray="3 3"/>')
    parts.append(_text(one, y + 14, "pass-through = 1", "middle"))
    height = y + 26
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img">\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _legend() -> str:
    parts = [_text(_LEFT, 18, "CPU time per event, to that of a bare aiohttp pass-through")]
    x = _LEFT
    for _, name, colour in _BARS:
        parts.append(_rect(x, 32, 10, 10, colour))
        parts.append(_text(x + 15, 41, name))
        x += 150
    return "\n".join(parts)


def _x(value: float) -> float:
    return _LEFT + value / _MOST * (_WIDTH - _LEFT - 50)


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    size = f'width="{width:.1f}" height="{height}"'
    return f'<rect x="{x}" y="{y}" {size} fill="{colour}"/>'


def _text(x: float, y: float, what: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(what)}</text>'
