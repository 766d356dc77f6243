"""A configuration that is read again: what is new in it, and which files it is made of."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from sidecar.rules.accesssection import Access
from sidecar.rules.config import Config, ConfigSection
from sidecar.rules.configvalues import Address
from sidecar.rules.source import NEEDS_RESTART, Read, Source, as_it_listens, changed_keys
from sidecar.rules.watched import watched

UPSTREAM = "upstream: {base_url: http://u/v1}\n"
OTHER: dict[str, str] = {
    "listen": "listen: 127.0.0.1:1",
    "reuse_port": "reuse_port: true",
    "admin": "admin: 127.0.0.1:2",
    "limits": "limits: {streams: 5}",
    "write_timeout": "write_timeout: 5s",
    "drain": "drain: {delay: 0}",
    "formats": "formats: formats",
    "access_log": "access_log: off",
    "models": "models: [m]",
    "rules": "rules: []",
    "paths": "paths: [/a]",
    "response_headers": "response_headers: [x-a]",
    "websocket": "websocket: pass",
    "playground": "playground: true",
    "auth": "auth: {keys: [{file: keys}]}",
    "hosts": "hosts: [a]",
    "cors": "cors: {origins: ['*']}",
    "tls": "tls: {certificate: a.pem, key: a.key}",
}
"""Another value of each key but ``upstream``, which has a file of its own."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that these name."""
    issued = trustme.CA().issue_cert("a")
    issued.private_key_pem.write_to_path(str(tmp_path / "a.key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "a.pem"))
    (tmp_path / "keys").write_text("sk-0123456789abcdef")
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats" / "one.yaml").write_text(
        "id: one\nmodels: [m]\nsources: [a test]\ngroups: []\nwhy: it is a test\n"
        "regions: [{channel: reasoning, open: [<a>], close: [</a>]}]\n"
        "examples: [{name: one, text: <a>b</a>c, visible: c, reasoning: b}]\n"
    )
    return tmp_path


def read(folder: Path, text: str, **given: Any) -> Read:
    file = folder / "sidecar.yaml"
    file.write_text(text)
    return Source(file, {"NAME": "m"}, **given).read()


def test_every_key_is_named_when_it_is_new(folder: Path) -> None:
    """``version`` has one value, and ``status`` is part of the rules that it is for."""
    assert {*OTHER, "upstream", "version", "status"} == set(ConfigSection.model_fields)
    before = read(folder, UPSTREAM)
    for key, text in OTHER.items():
        assert changed_keys(before, read(folder, f"{UPSTREAM}{text}\n")) == (key,)
    assert changed_keys(before, read(folder, "upstream: {base_url: http://v/v1}")) == ("upstream",)
    assert changed_keys(before, read(folder, f"{UPSTREAM}status: {{form: off}}\n")) == ("rules",)


def test_the_same_meaning_is_no_change(folder: Path) -> None:
    text = "formats: formats\nauth: {keys: [{file: keys}]}\n"
    before = read(folder, f"{UPSTREAM}{text}models: [m]\n")
    assert read(folder, f"# other words\nmodels: ['${{NAME}}']\n{text}{UPSTREAM}") == before


def test_only_what_listens_stays(folder: Path) -> None:
    """All else is as the new file has it."""
    before = read(folder, UPSTREAM).config
    new = read(folder, UPSTREAM + "\n".join(OTHER.values())).config
    used = as_it_listens(before, new)
    kept = [field.name for field in fields(Config) if field.name not in (*NEEDS_RESTART, "access")]
    assert all(getattr(used, name) == getattr(new, name) for name in kept)
    assert (used.listen, used.admin) == (before.listen, before.admin)
    assert used.reuse_port is before.reuse_port
    assert used.access == replace(new.access, tls=None)
    assert {field.name for field in fields(Access)} - {"tls"} == {
        "keys",
        "key_files",
        "hosts",
        "cors",
    }


def test_addresses_that_are_given_go_before_the_file(folder: Path) -> None:
    config = read(folder, f"{UPSTREAM}listen: 127.0.0.1:1\n", listen=Address("h", 3)).config
    assert config.listen == Address("h", 3)


def test_all_files_are_watched_and_the_folders_that_they_stand_in(folder: Path) -> None:
    """Those that are named; and where one is not there, the folder in which it would be."""
    text = "\n".join(OTHER.values())
    upstream = "upstream: {base_url: 'https://u/v1', tls: {ca: a.pem}}\n"
    source = Source(folder / "sidecar.yaml", {})
    files = source.files(read(folder, f"{upstream}{text}\n").config)
    names = {"sidecar.yaml", "keys", "a.pem", "a.key", "formats"}
    assert files == {folder / name for name in names}
    assert watched(files) == {folder, *files}
    assert watched({folder / "gone" / "sidecar.yaml"}) == {folder}


def test_where_a_link_leads_is_watched_too(tmp_path: Path) -> None:
    """As the kubelet puts it there."""
    version = tmp_path / "..version"
    version.mkdir()
    (version / "sidecar.yaml").touch()
    (tmp_path / "..data").symlink_to("..version")
    link = tmp_path / "sidecar.yaml"
    link.symlink_to(Path("..data", "sidecar.yaml"))
    assert watched({link}) == {tmp_path, link, version, version / "sidecar.yaml"}
