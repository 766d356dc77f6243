"""What the README shows is true: its format is read, checked and used as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.checking import check, summary, wrong_results
from sidecar.core.channel import Channel
from sidecar.core.format import Format
from sidecar.rules.catalogue import load_format, shipped_catalogue, shipped_names
from sidecar.rules.config import load_config
from sidecar.rules.formatfile import (
    ArgumentsSection,
    ExampleSection,
    FormatSection,
    RegionSection,
    ToolNameSection,
)
from sidecar.rules.ruleset import RuleSet
from sidecar.rules.validation import Section

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LANGUAGE = README.partition("\n## The format language\n")[2].partition("\n## ")[0]
FORMAT, KEY = re.findall(r"```yaml\n(.*?)```", LANGUAGE, re.DOTALL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file that the README tells to write."""
    found = re.search(r"`(formats/\w+\.yaml)` beside your `sidecar\.yaml`", LANGUAGE)
    assert found is not None
    path = tmp_path / found[1]
    path.parent.mkdir()
    path.write_text(FORMAT, encoding="utf-8")
    return path


@pytest.fixture
def config(path: Path) -> Path:
    """The configuration that names it."""
    config = path.parents[1] / "sidecar.yaml"
    config.write_text(f"upstream: {{base_url: 'http://u/v1'}}\n{KEY}", encoding="utf-8")
    return config


def test_the_format_has_about_ten_lines_and_its_examples_hold(path: Path) -> None:
    format_: Format = load_format(path)
    assert len(FORMAT.splitlines()) <= 12
    assert [wrong_results(format_, example) for example in format_.examples] == [[]]
    assert format_.regions[0].channel is Channel.REASONING


def test_the_format_is_checked_with_the_configuration_that_names_it(config: Path) -> None:
    right, wrong = check([config], {})
    assert wrong == []
    assert summary(right) == "2 files, 1 family, 1 example held in every cut"


def test_every_rule_with_all_formats_knows_the_model(config: Path) -> None:
    loaded = load_config(config, {}, shipped_names())
    rules = RuleSet(loaded.rules, shipped_catalogue(loaded.formats))
    assert all("my_model" in {f.id for f in rule.formats} for rule in rules.rules)


@pytest.mark.parametrize(
    "section",
    [FormatSection, RegionSection, ToolNameSection, ArgumentsSection, ExampleSection],
    ids=lambda section: section.__name__,
)
def test_every_key_of_the_language_is_explained(section: type[Section]) -> None:
    tables = "\n".join(line for line in LANGUAGE.splitlines() if line.startswith("|"))
    for name, field in section.model_fields.items():
        assert re.search(rf"`{field.alias or name}[`:]", tables), name


def test_every_placeholder_is_explained() -> None:
    assert {"{name}", "{number}", "{space}"} <= set(re.findall(r"`(\{\w+\})`", LANGUAGE))


@pytest.mark.parametrize(
    "document", ["README.md", "CHANGELOG.md", ".github/SECURITY.md", "helm/sidecar/README.md"]
)
def test_every_file_that_a_document_links_to_is_there(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []
