"""The command line as a user meets it: a process, its output and its exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from sidecar import __version__
from sidecar.cli import main
from sidecar.resources import config_dir
from tests.wire.recordings import FOLDER, Recording, recordings

UPSTREAM = "http://127.0.0.1:9/v1"
ANY = "127.0.0.1:0"
PATIENCE = 20.0
"""Seconds; a loaded machine is slow to start an interpreter."""


class Said(NamedTuple):
    """How a process ended."""

    code: int
    out: bytes
    err: str


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "sidecar", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Ours, without what could lead the command elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SIDECAR_")}
    return {k: v for k, v in kept.items() if not k.lower().endswith("_proxy")} | more


def sidecar(*arguments: str | Path, **more: str) -> Said:
    """Run it to its end."""
    ended = subprocess.run(
        command(*arguments), capture_output=True, env=environment(**more), timeout=60, check=False
    )
    err = ended.stderr.decode()
    assert "Traceback" not in err
    return Said(ended.returncode, ended.stdout, err)


class Serving(NamedTuple):
    """A sidecar that runs. ``data`` and ``admin`` are its addresses, ``log`` what it has said."""

    process: subprocess.Popen[str]
    data: str
    admin: str
    log: list[str]


@contextmanager
def serving(*arguments: str | Path, **more: str) -> Iterator[Serving]:
    """Start it and wait until it says where it listens."""
    process = subprocess.Popen(
        command("serve", *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )
    try:
        log = list(_lines_until(process, "health and metrics on"))
        data = re.search(r"serving http://(\S+)/v1", "\n".join(log))
        admin = re.search(r"health and metrics on http://(\S+)", "\n".join(log))
        assert data is not None, log
        assert admin is not None, log
        yield Serving(process, data[1], admin[1], log)
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def _lines_until(process: subprocess.Popen[str], last: str) -> Iterator[str]:
    """What it says, up to the line with ``last``."""
    assert process.stderr is not None
    # Reading waits for ever; a process that says nothing in time is ended, and so is the reading.
    with _deadline(process):
        for line in process.stderr:
            yield line.rstrip()
            if last in line:
                return
    raise AssertionError(f"it did not say {last!r}")


@contextmanager
def _deadline(process: subprocess.Popen[str]) -> Iterator[None]:
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def get(address: str, path: str) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}{path}", timeout=PATIENCE) as reply:
        return reply.status, reply.read()


def free_ports(number: int) -> list[int]:
    """So many that nobody has, each another one."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in held]


def free_port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"listen: {ANY}\nadmin: {ANY}\nupstream: {{base_url: {UPSTREAM}}}\n", encoding="utf-8"
    )
    return path


# Usage.


def test_it_says_its_version() -> None:
    assert sidecar("--version") == (0, f"sidecar, version {__version__}\n".encode(), "")


def test_it_explains_every_command() -> None:
    said = sidecar("--help")
    assert said.code == 0
    for name in ("serve", "check", "schema", "replay", "demo", "doctor", "health"):
        assert name in said.out.decode()
        assert sidecar(name, "-h").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["serve"],
        ["serve", "--config", "x.yaml", "--upstream", UPSTREAM],
        ["serve", "--upstream", UPSTREAM, "--listen", "nowhere"],
        ["serve", "--upstream", UPSTREAM, "--listen", ":80"],
        ["serve", "--upstream", UPSTREAM, "--admin", "127.0.0.1:99999"],
        ["serve", "--upstream", UPSTREAM, "--listen", "127.0.0.1:8", "--admin", "127.0.0.1:8"],
        ["check"],
        ["doctor"],
        ["doctor", "--url", "app.example.com/v1"],
        ["doctor", "--url", "ftp://app.example.com/v1"],
        ["doctor", "--url", "https://app.example.com/v1?x"],
        ["doctor", "--url", "https://app.example.com:99999/v1"],
        ["doctor", "--url", "https://me:secret@app.example.com/v1"],
        ["doctor", "--url", UPSTREAM, "--header", "no colon"],
        ["doctor", "--url", UPSTREAM, "--header", "X: a\r\nHost: b"],
        ["doctor", "--url", UPSTREAM, "--events", "2"],
        ["doctor", "--url", UPSTREAM, "--idle", "601"],
        ["check", "/nowhere.yaml"],
        ["schema"],
        ["schema", "rules"],
        ["replay"],
        ["replay", "/nowhere.sse"],
        ["replay", __file__, "--cut", "0"],
        ["replay", __file__, "--cut", "many"],
        ["replay", __file__, "--rule", "nobody"],
        ["replay", __file__, "--config", "/nowhere.yaml"],
        ["health", "--later"],
        ["demo", "--listen", "nowhere"],
    ],
    ids=" ".join,
)
def test_a_wrong_use_is_said_so(arguments: list[str]) -> None:
    said = sidecar(*arguments)
    assert said.code == 2
    assert said.out == b""
    assert "Error" in said.err


def test_a_rule_that_is_not_there_is_told_which_are() -> None:
    said = sidecar("replay", FOLDER / "openai-plain.sse", "--rule", "nobody")
    assert "'nobody'" in said.err
    assert "tools-declared, default" in said.err


# check


def test_what_ships_is_right() -> None:
    said = sidecar("check", config_dir())
    assert (said.code, said.err) == (0, "")
    *lines, last = said.out.decode().splitlines()
    assert len(lines) == len(list(config_dir().rglob("*.yaml")))
    families = len(list((config_dir() / "formats").glob("*.yaml")))
    counts = rf"{len(lines)} files, {families} families, \d+ examples held in every cut"
    assert re.fullmatch(counts, last)


def test_each_mistake_of_a_file_is_a_sentence_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        "upstream:\n  base_url: ftp://x\nlisten: nowhere\nrules:\n"
        "  - name: one\n    reasoning: dorp\n    formats: [thonk]\n  - name: two\n    on: off\n",
        encoding="utf-8",
    )
    said = sidecar("check", path)
    assert said.code == 1
    assert said.out == b""
    *lines, _ = said.err.splitlines()
    starts = [re.match(rf"{re.escape(str(path))}:(\d+):\d+: \S", line) for line in lines]
    assert [start and int(start[1]) for start in starts] == [2, 3, 6, 7, 9]
    assert "drop" in lines[2]
    assert "think" in lines[3]


def test_what_is_right_is_listed_beside_what_is_wrong(config: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("upstream: {base_url: 7}\n", encoding="utf-8")
    said = sidecar("check", config, wrong)
    assert said.code == 1
    assert said.out.decode() == f"{config}: 2 rules\n"
    assert said.err.startswith(f"{wrong}:1:")


def test_a_format_with_a_wrong_example_is_told_which(tmp_path: Path) -> None:
    folder = tmp_path / "formats"
    folder.mkdir()
    text = (config_dir() / "formats" / "think.yaml").read_text(encoding="utf-8")
    (folder / "think.yaml").write_text(
        text.replace('visible: "Hello"', 'visible: "Hullo"', 1), encoding="utf-8"
    )
    said = sidecar("check", folder)
    assert said.code == 1
    line, _ = said.err.splitlines()
    assert line.startswith(str(folder / "think.yaml"))
    assert "visible is 'Hello', expected 'Hullo'" in line


@pytest.mark.parametrize("text", ["", "a: [", "\t", "a: 1\na: 2\n", "- 1\n", "on: yes\n"])
def test_a_file_that_is_no_configuration_is_a_mistake_and_no_traceback(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    for said in (sidecar("check", path), sidecar("serve", "--config", path)):
        assert said.code == 1
        assert said.err.startswith(str(path))


def test_a_configuration_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    said = sidecar("serve", "--config", tmp_path / "nowhere.yaml")
    assert said.code == 1
    assert "nowhere.yaml" in said.err


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000/v1", "", "http://a b/v1"])
def test_an_upstream_that_is_no_url_is_a_mistake(url: str) -> None:
    said = sidecar("serve", "--upstream", url, "--listen", ANY, "--admin", ANY)
    assert said.code in (1, 2)
    assert len(said.err.splitlines()) <= 4


@pytest.mark.parametrize("files", ["formats", "config"])
def test_a_schema_is_json_for_an_editor(files: str) -> None:
    said = sidecar("schema", files)
    assert (said.code, said.err) == (0, "")
    schema = json.loads(said.out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


# own formats


@pytest.fixture
def own_format(config: Path) -> Path:
    """A file of the operator's own, which the configuration names."""
    folder = config.parent / "own"
    folder.mkdir()
    path = folder / "plan.yaml"
    path.write_text(
        """id: plan
models: [M]
sources: [a test]
groups: [all, reasoning]
why: a test
regions:
  - {channel: reasoning, open: ["<|plan|>"], close: ["<|/plan|>"]}
examples:
  - {name: plain, text: "<|plan|>zq<|/plan|>Hello", visible: Hello, reasoning: zq}
""",
        encoding="utf-8",
    )
    with config.open("a", encoding="utf-8") as file:
        file.write("formats: own\n")
    return path


def test_a_format_of_ones_own_is_checked_and_replayed(config: Path, own_format: Path) -> None:
    said = sidecar("check", config)
    assert said.out.decode().splitlines()[1:] == [
        f"{own_format}: 1 example held in every cut",
        "2 files, 1 family, 1 example held in every cut",
    ]
    capture = config.parent / "c.sse"
    chunk = {"choices": [{"index": 0, "delta": {"content": "<|plan|>zq<|/plan|>Hello"}}]}
    capture.write_text(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", encoding="utf-8")
    assert b"zq" in sidecar("replay", capture).out
    out = sidecar("replay", capture, "--config", config).out
    assert b"zq" not in out
    assert b"Hello" in out


def test_a_format_of_ones_own_is_served(config: Path, own_format: Path) -> None:
    with serving("--config", config) as running:
        assert get(running.admin, "/readyz")[0] == 200
    own_format.write_text("id: plan\n", encoding="utf-8")
    said = sidecar("serve", "--config", config)
    assert said.code == 1
    assert said.err.startswith(str(own_format))


# replay

REPLAYED = [r for r in recordings() if r.name in ("agent-tool-round", "openai-crlf", "vllm-error")]


@pytest.mark.parametrize("cut", [None, 1, 64, 4096])
@pytest.mark.parametrize("recording", REPLAYED, ids=lambda r: r.name)
def test_a_replay_gives_the_golden_bytes_whatever_the_cut(
    recording: Recording, cut: int | None
) -> None:
    arguments = ["--cut", str(cut)] if cut else []
    said = sidecar("replay", recording.path, *arguments)
    assert (said.code, said.err) == (0, "")
    assert said.out == recording.golden


def test_a_replay_may_follow_any_rule_of_a_file(config: Path) -> None:
    path = FOLDER / "vllm-inband-think.sse"
    with config.open("a", encoding="utf-8") as file:
        file.write("rules:\n  - {name: show, formats: [thought]}\n  - {name: hide}\n")
    shown = sidecar("replay", path, "--config", config, "--rule", "show").out
    assert b"zq" in shown
    golden = path.with_suffix(".golden.sse").read_bytes()
    assert sidecar("replay", path, "--config", config, "--rule", "hide").out == golden
    assert sidecar("replay", path, "--config", config).out == golden


def test_a_rule_that_hides_nothing_changes_nothing_in_a_replay_either(config: Path) -> None:
    path = FOLDER / "vllm-reasoning.sse"
    with config.open("a", encoding="utf-8") as file:
        file.write("rules:\n  - name: all\n    reasoning: keep\n    tool_calls: keep\n")
        file.write("    tool_results: keep\n")
    assert sidecar("replay", path, "--config", config).out == path.read_bytes()


def test_a_file_without_rules_has_none_to_replay(config: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write("rules: []\n")
    said = sidecar("replay", FOLDER / "openai-plain.sse", "--config", config)
    assert said.code == 2
    assert "no rules" in said.err


def test_an_explanation_is_a_line_for_each_event_and_hides_what_is_hidden() -> None:
    path = FOLDER / "vllm-inband-mixed.sse"
    said = sidecar("replay", path, "--explain", "--cut", "50")
    lines = said.out.decode().splitlines()
    assert len(lines) == path.read_bytes().count(b"\n\n")
    assert b"zq" not in said.out
    assert any("of reasoning (think)" in line for line in lines)
    assert any("of tool_call (hermes_tool_call)" in line for line in lines)
    assert said == sidecar("replay", path, "--explain")


# serve and health


def test_it_serves_until_it_is_told_to_stop(config: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write("drain: {delay: 0}\n")
    with serving("--config", config) as running:
        assert UPSTREAM in running.log[0]
        assert get(running.admin, "/healthz")[0] == 200
        assert get(running.admin, "/readyz")[0] == 200
        assert running.data != running.admin
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0


def test_an_interrupt_stops_it_too() -> None:
    with serving("--upstream", UPSTREAM, "--listen", ANY, "--admin", ANY) as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE) == 0


def test_the_environment_says_where_it_listens(config: Path) -> None:
    data, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    more = {"SIDECAR_LISTEN": data, "SIDECAR_ADMIN": admin, "SIDECAR_CONFIG": str(config)}
    with serving(**more) as running:
        assert (running.data, running.admin) == (data, admin)
        assert sidecar("health", **more).code == 0


def test_an_option_counts_more_than_the_environment(config: Path) -> None:
    data = f"127.0.0.1:{free_port()}"
    with serving(
        "--config", config, "--listen", data, SIDECAR_LISTEN="127.0.0.1:1", SIDECAR_ADMIN=ANY
    ) as running:
        assert running.data == data


def test_rules_that_filter_nothing_are_said_at_the_start(config: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write("rules: []\n")
    with serving("--config", config) as running:
        assert list(_lines_until(running.process, "nothing is filtered"))


def test_a_port_that_is_taken_is_a_clear_mistake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = sidecar("serve", "--upstream", UPSTREAM, "--listen", address, "--admin", ANY)
    assert said.code == 1
    assert said.err == f"cannot listen on {address}: {os.strerror(errno.EADDRINUSE).lower()}\n"


def test_an_error_of_the_system_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every one is about a port."""

    def refuse(_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "ca.pem")

    monkeypatch.setattr("sidecar.server.service.UpstreamClient", refuse)
    said = CliRunner().invoke(main, ["serve", "--upstream", UPSTREAM, "--listen", ANY])
    assert said.exit_code == 1
    assert said.output == "[Errno 2] No such file or directory: 'ca.pem'\n"


def test_without_a_file_a_terminal_that_closes_ends_it() -> None:
    """There is nothing that SIGHUP could have read again."""
    with serving("--upstream", UPSTREAM, "--listen", ANY, "--admin", ANY) as running:
        running.process.send_signal(signal.SIGHUP)
        assert running.process.wait(PATIENCE) == -signal.SIGHUP


def test_health_is_0_where_a_sidecar_is_alive_and_1_where_none_is() -> None:
    with serving("--upstream", UPSTREAM, "--listen", ANY, "--admin", ANY) as running:
        alive = sidecar("health", "--admin", running.admin)
        assert (alive.code, alive.out) == (0, b"healthy\n")
    dead = sidecar("health", "--admin", running.admin)
    assert (dead.code, dead.out) == (1, b"")
    assert running.admin in dead.err


@pytest.mark.parametrize(
    "address", ["", "nowhere", "127.0.0.1:x", "127.0.0.1:99999", "[::1", "a b:1"]
)
def test_health_of_an_address_that_is_none_is_1_or_2_and_no_traceback(address: str) -> None:
    assert sidecar("health", "--admin", address).code in (1, 2)


def test_health_asks_the_sidecar_and_no_proxy() -> None:
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
    with serving("--upstream", UPSTREAM, "--listen", ANY, "--admin", ANY) as running:
        assert sidecar("health", "--admin", running.admin, **proxies).code == 0


def test_health_is_1_where_something_else_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(PATIENCE)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        process = subprocess.Popen(
            command("health", "--admin", address), stderr=subprocess.PIPE, env=environment()
        )
        connection, _ = other.accept()
        with connection:
            connection.sendall(b"SSH-2.0-other\r\n\r\n")
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert b"Traceback" not in err
