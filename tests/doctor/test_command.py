"""The command as a process, in front of a sidecar that wants a key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_cli import ANY, UPSTREAM, Serving, free_port, serving, sidecar

KEY = "sk-doctor-0000000000001"
FAST = ("--events", "5", "--interval", "0.05")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    config: Path = tmp_path_factory.mktemp("doctor") / "sidecar.yaml"
    config.write_text(
        f"listen: {ANY}\nadmin: {ANY}\nupstream: {{base_url: {UPSTREAM}}}\n"
        f"auth: {{keys: [{{key: {KEY}, name: doctor}}]}}\n",
        encoding="utf-8",
    )
    with serving("--config", config) as running:
        yield running


@pytest.mark.parametrize("variable", ["SIDECAR_DOCTOR_KEY", "OPENAI_API_KEY"])
def test_the_key_comes_from_the_environment_and_is_not_shown(
    running: Serving, variable: str
) -> None:
    said = sidecar("doctor", "--url", f"http://{running.data}/v1/", *FAST, **{variable: KEY})
    assert said.out.decode().startswith(f"http://{running.data}/v1/sidecar/drip: ")
    assert KEY not in said.out.decode() + said.err


def test_a_header_goes_before_the_key(running: Serving) -> None:
    url, header = f"http://{running.data}/v1", f"authorization: Bearer {KEY}"
    said = sidecar(
        "doctor", "--url", url, "--header", header, *FAST, "--json", OPENAI_API_KEY="another"
    )
    assert json.loads(said.out)["complete"] is True


def test_without_a_key_it_says_where_to_put_one(running: Serving) -> None:
    url = f"http://{running.data}/v1"
    said = sidecar("doctor", "--url", url, *FAST, OPENAI_API_KEY="", SIDECAR_DOCTOR_KEY="")
    assert said.code == 1
    assert said.out == b""
    assert said.err.startswith(f"{url}: It answers with 401. It wants a key:")
    assert said.err.count("\n") == 1


def test_scripts_are_told_why_in_json() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    said = sidecar("doctor", "--url", url, "--json")
    assert said.code == 1
    assert json.loads(said.out) == {
        "url": url,
        "fine": False,
        "error": "It cannot be connected to: Connection refused.",
    }
