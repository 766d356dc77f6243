"""The command line on a terminal, in a pipe and in a script."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sidecar.cli import main
from tests.test_cli import UPSTREAM, command, environment, sidecar
from tests.wire.recordings import FOLDER

INBAND = FOLDER / "vllm-inband-think.sse"
STEERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
COLOUR = re.compile(r"\x1b\[(?:31|0)m")


def on_a_terminal(*arguments: str | Path, **more: str) -> str:
    """What a person sees who runs it: both outputs, on one terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(COLUMNS="80", TERM="xterm", **more),
    ) as process:
        os.close(theirs)
        said = bytearray()
        try:
            while piece := os.read(ours, 65_536):
                said += piece
        except OSError:  # how a terminal ends on Linux
            pass
        assert process.wait(60) == 0, said
    os.close(ours)
    return said.decode()


# --- colours ------------------------------------------------------------------------------------


def test_colours_are_for_terminals() -> None:
    said = on_a_terminal("replay", INBAND, "--diff")
    assert COLOUR.search(said)
    assert not STEERS.search(COLOUR.sub("", said))
    assert b"\x1b" not in sidecar("replay", INBAND, "--diff").out


def test_nobody_who_wants_none_gets_any() -> None:
    """See no-color.org."""
    said = on_a_terminal("replay", INBAND, "--diff", NO_COLOR="1")
    assert "what the client gets" in said
    assert not STEERS.search(said)


def test_a_stream_steers_no_terminal(tmp_path: Path) -> None:
    """Neither by its texts nor by bytes that are no JSON; a pipe gets them as they are."""
    evil = "\x1b]0;owned\x07\x9b31m"
    path = tmp_path / "evil.sse"
    path.write_text(
        f": {evil}\n\n"
        f'data: {{"choices":[{{"index":0,"delta":{{"content":{json.dumps(evil)}}}}}]}}\n\n'
        f'data: {{"choices":[{{"index":0,"delta":{{"content":"\x9b31m"}}}}]}}\n\n',
        encoding="utf-8",
    )
    for options in ((), ("--explain",), ("--json",), ("--diff",)):
        assert not STEERS.search(COLOUR.sub("", on_a_terminal("replay", path, *options)))
    assert "\x9b31m".encode() in sidecar("replay", path).out


# --- progress -----------------------------------------------------------------------------------


def test_a_person_sees_what_is_checked_and_a_pipe_does_not(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(f"upstream: {{base_url: {UPSTREAM}}}\n", encoding="utf-8")
    assert "checking sidecar.yaml …" in on_a_terminal("check", path)
    assert sidecar("check", path).err == ""


# --- scripts ------------------------------------------------------------------------------------


def test_check_tells_scripts_what_is_right_and_what_is_not(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text(f"upstream: {{base_url: {UPSTREAM}}}\n", encoding="utf-8")
    wrong.write_text(f"upstream: {{base_url: {UPSTREAM}}}\nlimits: many\n", encoding="utf-8")
    said = sidecar("check", right, wrong, "--json")
    assert (said.code, said.err) == (1, "")
    value = json.loads(said.out)
    assert [file["path"] for file in value["right"]] == [str(right)]
    assert [(m["file"], m["line"], m["path"]) for m in value["wrong"]] == [
        (str(wrong), 2, "limits")
    ]
    assert sidecar("check", right, "--json").code == 0


def test_replay_tells_scripts_what_became_of_each_event() -> None:
    said = sidecar("replay", INBAND, "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    explained = sidecar("replay", INBAND, "--explain").out.splitlines()
    assert [event["number"] for event in events] == list(range(1, len(explained) + 1))
    hidden = [hidden for event in events for hidden in event["hid"]]
    assert {"reasoning"} <= {each["channel"] for each in hidden}
    assert b"zq" not in said.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", INBAND, "--json", "--diff"],
        ["replay", INBAND, "--speed", "0x"],
        ["replay", INBAND, "--speed", "fast"],
        ["capture", "--upstream", UPSTREAM, "-o", "/nowhere/x.sse"],
        ["capture", "--upstream", UPSTREAM, "--model", "m"],
        ["capture", "--upstream", UPSTREAM, "--body", __file__, "-o", "/nowhere/x.sse"],
        ["completion", "powershell"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:3])),
)
def test_a_wrong_use_is_said_so(arguments: list[str]) -> None:
    said = sidecar(*arguments)
    assert (said.code, said.out) == (2, b"")
    assert "Error" in said.err


# --- help and completion ------------------------------------------------------------------------


@pytest.mark.parametrize("name", main.commands)
def test_every_command_shows_how_it_is_used(name: str) -> None:
    help_text = sidecar(name, "--help").out.decode()
    usage, _, rest = help_text.partition("\n")
    assert usage.startswith(f"Usage: sidecar {name} ")
    assert f"sidecar {name} " in rest


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_it_can_read(shell: str) -> None:
    said = sidecar("completion", shell)
    assert said.code == 0
    assert f"_SIDECAR_COMPLETE={shell}_complete" in said.out.decode()
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=said.out, check=True)


def test_what_completes_is_the_commands_and_their_options() -> None:
    """As the script of bash asks."""
    for words, found in (("sidecar doc", "plain,doctor"), ("sidecar doctor --id", "plain,--idle")):
        said = sidecar(
            _SIDECAR_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        )
        assert said.out.decode().splitlines() == [found]
