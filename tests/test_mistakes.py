"""A mistake in a file says where the README explains it, and there the README does."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from sidecar.cli import main
from sidecar.errors import Mistake
from sidecar.readme import SECTIONS, explained
from sidecar.rules.config import ConfigSection, RuleSection

README = Path(__file__).parents[1] / "README.md"
HEADINGS = re.findall(r"^#+ (.+)$", README.read_text(encoding="utf-8"), re.MULTILINE)


def mistake(path: str) -> Mistake:
    return Mistake("sidecar.yaml", 1, 1, path, "is wrong")


def test_every_key_has_a_section_and_every_section_is_there() -> None:
    assert set(ConfigSection.model_fields) <= set(SECTIONS)
    under_rules = {key.removeprefix("rules.") for key in SECTIONS if key.startswith("rules.")}
    assert under_rules <= set(RuleSection.model_fields)
    assert set(SECTIONS.values()) <= set(HEADINGS)


def test_each_section_is_named_once() -> None:
    found = [mistake("auth.keys.0.key"), mistake("tls.key"), mistake("rules.0.status.form")]
    where = "“Who may ask” and “While nothing can be shown”"
    assert explained(found) == f"The README explains this under {where}."
    assert explained([mistake("regions.0.open")]).endswith("“The format language”.")


def test_of_a_file_as_a_whole_nothing_more_is_said() -> None:
    assert explained([Mistake("sidecar.yaml", 0, 0, "", "is no file")]) == ""


def test_of_a_key_that_there_is_not_nothing_more_is_said() -> None:
    """A misspelt key of the configuration is none of a format file's."""
    assert explained([mistake("rulez")]) == ""
    assert explained([mistake("limits.strems")]).endswith("“Limits”.")


def test_the_command_line_says_so_after_the_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("upstream: {base_url: http://u/v1}\ndrain: {delay: soon}\n", encoding="utf-8")
    for command in (["check", str(file)], ["serve", "--config", str(file)]):
        said = CliRunner().invoke(main, command)
        assert said.exit_code == 1
        *_, wrong, where = said.output.splitlines()
        assert ":2:16: drain.delay: found 'soon'" in wrong
        assert where == "The README explains this under “How it ends”."
