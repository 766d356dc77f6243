"""What a run of the tests says at its end."""

from __future__ import annotations

import pytest
from hypothesis import settings

from sidecar.rules.catalogue import load_catalogue, shipped_folder

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How large the catalogue is that the tests ran over, and what tests have measured."""
    formats = load_catalogue(shipped_folder()).formats.values()
    examples = sum(len(format_.examples) for format_ in formats)
    terminalreporter.write_line(f"catalogue: {len(formats)} families, {examples} examples")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
