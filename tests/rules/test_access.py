"""``auth``, ``hosts``, ``cors`` and ``tls`` in the configuration file: what they become, and what
is wrong with them, without a key in any mistake."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from sidecar.checking import check
from sidecar.errors import ConfigError
from sidecar.rules.accesssection import Access, ClientKey, CorsPolicy
from sidecar.rules.certificates import Tls
from sidecar.rules.config import load_config

UPSTREAM = "upstream: {base_url: http://127.0.0.1:8000/v1}\n"
SECRET = "sk-very-secret-key-1"
OTHER = "sk-very-secret-key-2"
ENTRY = "expected {key: …} or {file: …}, with a name if you like"
FILE = "expected a file with one key on each line, as seen from this file"
READABLE = "expected a file that can be read, as seen from this file"
KEY = "16 or more visible ASCII characters"
NAME = (
    "expected a name of up to 63 lower-case letters, digits and hyphens, no hyphen first, other "
    "than 'none'"
)
HOST = (
    "expected a host's name or a glob for it, such as llm.example.com, '*.example.com' or "
    "localhost:8080"
)
ORIGIN = (
    "expected an origin as browsers write it, such as https://app.example.com or "
    "http://localhost:3000, or '*'"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def load(file: Path, text: str, environment: Mapping[str, str] | None = None) -> Access:
    file.write_text(UPSTREAM + text, encoding="utf-8")
    return load_config(file, environment or {}, ("all",)).access


def refused(file: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """The mistakes, without the folder."""
    with pytest.raises(ConfigError) as error:
        load(file, text, environment)
    return [str(mistake).removeprefix(f"{file.parent}/") for mistake in error.value.mistakes]


def key(name: str, secret: str) -> ClientKey:
    return ClientKey(name, hashlib.sha256(secret.encode()).digest())


def test_nothing_is_asked_of_anybody_by_default(file: Path) -> None:
    assert load(file, "") == Access(keys=(), hosts=(), cors=None, tls=None)


# --- keys ---------------------------------------------------------------------------------------


def test_keys_come_from_the_environment_and_from_files(file: Path) -> None:
    """A file holds one key on each line, so that the old and the new one may be valid for a while;
    what has no name is called by its place."""
    (file.parent / "keys").mkdir()
    (file.parent / "keys" / "ops").write_bytes(b"\r\n  ops-key-000000000\t\r\n\nops-key-111111111")
    text = """
auth:
  keys:
  - {key: "${APP}", name: mobile}
  - {file: keys/ops, name: ops}
  - {key: "${OTHER}"}
  - {name: mobile, key: "sk-the-next-one-of-mobile"}
"""
    assert load(file, text, {"APP": SECRET, "OTHER": OTHER}).keys == (
        key("mobile", SECRET),
        key("ops", "ops-key-000000000"),
        key("ops", "ops-key-111111111"),
        key("key-3", OTHER),
        key("mobile", "sk-the-next-one-of-mobile"),
    )


def test_a_file_may_be_anywhere(file: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "key"
    elsewhere.write_text(SECRET)
    assert load(file, f"auth: {{keys: [{{file: {elsewhere}}}]}}").keys == (key("key-1", SECRET),)


@pytest.mark.parametrize(
    ("auth", "mistake"),
    [
        ("", "2:1: auth: found nothing, expected a value; leave the key out to leave it open"),
        (SECRET, "2:7: auth: found text, expected a mapping of keys to values"),
        (f"[{SECRET}]", "2:7: auth: found a list, expected a mapping of keys to values"),
        ("{}", "2:7: auth.keys: is missing, expected a list of {key: …} or {file: …}, each with a "
         "name if you like"),
        ("{keys: []}", "2:14: auth.keys: found an empty list, expected at least one entry"),
        ("{keys: }", "2:8: auth.keys: found nothing, expected a list"),
        (f"{{keys: {SECRET}}}", "2:14: auth.keys: found text, expected a list"),
        (f"{{keys: {{{SECRET}: mobile}}}}", "2:14: auth.keys: found a mapping, expected a list"),
        (f"{{keys: [{SECRET}]}}", f"2:15: auth.keys.0: found text, {ENTRY}"),
        ("{keys: [12345678901234567]}", f"2:15: auth.keys.0: found a number or a boolean, {ENTRY}"),
        (f"{{keys: [{{{SECRET}: mobile}}]}}", f"2:15: auth.keys.0: found a mapping, {ENTRY}"),
        ("{keys: [{name: a}]}", f"2:15: auth.keys.0: found a mapping, {ENTRY}"),
        (f"{{keys: [{{key: {SECRET}, file: a}}]}}", f"2:15: auth.keys.0: found a mapping, {ENTRY}"),
        (f"{{keys: [{{key: {SECRET}, {OTHER}: a}}]}}", "2:15: auth.keys.0: found a mapping, "
         "expected nothing but a name besides the key or the file"),
        ("{keys: [{key: sk-too-short-0000}, {key: sk-too-short-00}]}", "2:41: auth.keys.1: found a "
         f"mapping, expected a key of {KEY}"),
        (f"{{keys: [{{key: '{SECRET} {SECRET}'}}]}}", "2:15: auth.keys.0: found a mapping, "
         f"expected a key of {KEY}"),
        (f"{{keys: [{{key: {SECRET}é}}]}}", "2:15: auth.keys.0: found a mapping, expected a key of "
         f"{KEY}"),
        ("{keys: [{key: 12345678901234567}]}", "2:15: auth.keys.0: found a mapping, expected a key "
         f"of {KEY}"),
        ("{keys: [{key: '${UNSET:-}'}]}", "2:15: auth.keys.0: found a mapping, expected a key of "
         f"{KEY}"),
        (f"{{keys: [{{key: {SECRET}, name: Mobile}}]}}", "2:15: auth.keys.0: found a mapping, "
         f"{NAME}"),
        (f"{{keys: [{{key: {SECRET}, name: none}}]}}", "2:15: auth.keys.0: found a mapping, "
         f"{NAME}"),
        (f"{{keys: [{{key: {SECRET}, name: }}]}}", f"2:15: auth.keys.0: found a mapping, {NAME}"),
        (f"{{keys: [{{key: {SECRET}}}, {{key: {SECRET}, name: a}}]}}", "2:14: auth.keys: found a "
         "key twice, expected each once"),
        (f"{{keys: [{{key: {SECRET}}}], key: {SECRET}}}", "2:45: auth.key: unknown key, expected "
         "'keys'; did you mean 'keys'?"),
    ],
)  # fmt: skip
def test_a_mistake_with_keys_is_told_without_them(file: Path, auth: str, mistake: str) -> None:
    """Wherever somebody has put one by mistake."""
    assert refused(file, f"auth: {auth}") == [f"c.yaml:{mistake}"]


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", f"{FILE}; it is empty"),
        (b"\n \r\n", f"{FILE}; it is empty"),
        (f"{SECRET}\n\nsk-short\n".encode(), f"{FILE}; line 3 is not {KEY}"),
        (f"{SECRET} {OTHER}".encode(), f"{FILE}; line 1 is not {KEY}"),
        (SECRET.encode() + b"\xff", f"{FILE}, in UTF-8"),
        (b"x" * 65_537, f"{FILE}, and no more than 65536 bytes"),
    ],
)
def test_a_mistake_in_a_file_of_keys(file: Path, content: bytes, mistake: str) -> None:
    (file.parent / "keys").write_bytes(content)
    assert refused(file, "auth: {keys: [{file: keys}]}") == [
        f"c.yaml:2:15: auth.keys.0: found a mapping, {mistake}"
    ]


def test_a_file_that_is_none_is_told_without_its_name(file: Path) -> None:
    """Somebody may have written the key there; and a pipe would be waited for without end."""
    os.mkfifo(file.parent / "pipe")
    for name, why in (
        (SECRET, f"{FILE} (no such file or directory)"),
        (".", f"{FILE} (not a file)"),
        ("pipe", f"{FILE} (not a file)"),
        ('"\\0"', f"{FILE}, in UTF-8"),
        ("5", FILE),
    ):
        assert refused(file, f"auth: {{keys: [{{file: {name}}}]}}") == [
            f"c.yaml:2:15: auth.keys.0: found a mapping, {why}"
        ]


def test_a_key_twice_in_a_file_and_too_many_keys(file: Path) -> None:
    text = "auth: {keys: [{file: keys}]}"
    (file.parent / "keys").write_text(f"{SECRET}\n{OTHER}\n{SECRET}\n")
    assert refused(file, text) == ["c.yaml:2:14: auth.keys: found a key twice, expected each once"]
    keys = [f"sk-one-of-many-{number:04}" for number in range(65)]
    (file.parent / "keys").write_text("\n".join(keys))
    assert refused(file, text) == [
        "c.yaml:2:14: auth.keys: found more than 64 keys, expected fewer"
    ]
    (file.parent / "keys").write_text("\n".join(keys[1:]))
    assert len(load(file, text).keys) == 64


def test_a_configuration_holds_no_key(file: Path) -> None:
    """Only what a key can be recognised by; and its representation not even that."""
    access = load(file, f"auth: {{keys: [{{key: {SECRET}, name: mobile}}]}}")
    assert repr(access.keys) == "(ClientKey(name='mobile'),)"


# --- hosts --------------------------------------------------------------------------------------


def test_hosts(file: Path) -> None:
    """In lower case, as they are compared."""
    text = 'hosts: [LLM.example.com, "*.example.com:8443", "[::1]", "*", "10.0.*:80", a_b]'
    assert load(file, text).hosts == (
        "llm.example.com",
        "*.example.com:8443",
        "[::1]",
        "*",
        "10.0.*:80",
        "a_b",
    )


@pytest.mark.parametrize("host", ["https://a", "a/b", "a b", "", "a:b", "a:", "::1", "a,b", "a?"])
def test_a_host_that_is_none(file: Path, host: str) -> None:
    assert refused(file, f"hosts: ['{host}']") == [f"c.yaml:2:9: hosts.0: found {host!r}, {HOST}"]


# --- cors ---------------------------------------------------------------------------------------


def test_cors(file: Path) -> None:
    text = "cors: {origins: [https://app.example.com, 'http://localhost:3000']"
    origins = ("https://app.example.com", "http://localhost:3000")
    assert load(file, text + "}").cors == CorsPolicy(origins, credentials=False, max_age=600.0)
    assert load(file, text + ", credentials: true, max_age: 1h}").cors == CorsPolicy(
        origins, credentials=True, max_age=3600.0
    )
    assert load(file, "cors: {origins: ['*']}").cors == CorsPolicy(("*",), False, 600.0)


def test_an_origin_need_not_be_of_the_web(file: Path) -> None:
    """Extensions and applications have schemes of their own."""
    origins = ("chrome-extension://abcdefghijklmnop", "tauri://localhost", "http://[::1]:3000")
    cors = load(file, f"cors: {{origins: [{', '.join(map(repr, origins))}]}}").cors
    assert cors is not None
    assert cors.origins == origins


@pytest.mark.parametrize(
    "origin",
    ["app.example.com", "https://App.example.com", "https://a/", "https://a/b", "null", "https://*.a",
     "https://a:443", "http://a:80", "https://a:b", "https://me@a", "https://", "HTTPS://a", ""],
)  # fmt: skip
def test_an_origin_that_no_browser_sends(file: Path, origin: str) -> None:
    """It would never match."""
    [mistake] = refused(file, f"cors: {{origins: ['{origin}']}}")
    assert mistake.startswith(f"c.yaml:2:18: cors.origins.0: found {origin!r}, {ORIGIN}")


@pytest.mark.parametrize(
    ("cors", "mistake"),
    [
        ("{}", "2:7: cors.origins: is missing, expected the origins of the pages, such as "
         "https://app.example.com, or '*' for all"),
        ("{origins: []}", "2:17: cors.origins: found an empty list, expected at least one entry"),
        ("{origins: ['*', https://a]}", "2:17: cors.origins: found '*' beside other origins, "
         "expected it alone: it means all"),
        ("{origins: ['*'], credentials: true}", "2:7: cors: found 'credentials: true' with the "
         "origin '*', expected the origins by name: browsers do not take both"),
        ("{origins: [https://a], credentials: yes}", "2:43: cors.credentials: found 'yes', "
         "expected true or false"),
        ("", "2:1: cors: found nothing, expected a value; leave the key out to leave it open"),
    ],
)  # fmt: skip
def test_a_mistake_in_cors(file: Path, cors: str, mistake: str) -> None:
    assert refused(file, f"cors: {cors}") == [f"c.yaml:{mistake}"]


# --- tls ----------------------------------------------------------------------------------------

AUTHORITY = trustme.CA()
WHOLE = "tls: {certificate: server.pem, key: server.key}"


@pytest.fixture
def pem(file: Path) -> Path:
    """The folder of the configuration, with PEM files in it, good and bad."""
    folder = file.parent
    good, other = AUTHORITY.issue_cert("localhost"), AUTHORITY.issue_cert("localhost")
    rsa = AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.RSA)
    good.private_key_pem.write_to_path(folder / "server.key")
    for blob in good.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)
    other.private_key_pem.write_to_path(folder / "other.key")
    rsa.private_key_pem.write_to_path(folder / "rsa.key")
    AUTHORITY.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "junk").write_bytes(b"\x00\xff" * 100)
    (folder / "damaged.pem").write_bytes((folder / "server.pem").read_bytes().replace(b"M", b"!"))
    return folder


def test_tls(file: Path, pem: Path) -> None:
    """The paths are seen from the configuration file."""
    assert load(file, WHOLE).tls == Tls(pem / "server.pem", pem / "server.key")
    assert load(file, WHOLE[:-1] + ", client_ca: ca.pem}").tls == Tls(
        pem / "server.pem", pem / "server.key", pem / "ca.pem"
    )


@pytest.mark.parametrize(
    ("tls", "mistake"),
    [
        ("{certificate: server.pem}", "2:6: tls.key: is missing, expected the file of its private "
         "key, in PEM, without a password"),
        ("{certificate: none.pem, key: server.key}", "2:20: tls.certificate: found 'none.pem', "
         f"{READABLE} (no such file or directory)"),
        ("{certificate: server.pem, key: .}", f"2:37: tls.key: found '.', {READABLE} (not a file)"),
        ("{certificate: server.pem, key: 5}", f"2:37: tls.key: found 5, {READABLE}"),
        ("{certificate: server.pem, key: other.key}", "2:6: tls: key is not the private key of "
         "certificate"),
        ("{certificate: server.pem, key: rsa.key}", "2:6: tls: key is not the private key of "
         "certificate"),
        ("{certificate: junk, key: server.key}", "2:6: tls: certificate has no certificate in PEM, "
         "or a damaged one"),
        ("{certificate: damaged.pem, key: server.key}", "2:6: tls: certificate has no certificate "
         "in PEM, or a damaged one"),
        ("{certificate: server.key, key: server.pem}", "2:6: tls: certificate has no certificate "
         "in PEM, or a damaged one"),
        ("{certificate: server.pem, key: junk}", "2:6: tls: key has no private key in PEM that can "
         "be read without a password"),
        ("{certificate: server.pem, key: server.key, client_ca: server.key}", "2:6: tls: client_ca "
         "has no certificate in PEM, or a damaged one"),
        ("{certificate: server.pem, key: server.key, client_ca: }", "2:49: tls.client_ca: found "
         "nothing, expected a value; leave the key out to leave it open"),
    ],
)  # fmt: skip
def test_a_mistake_in_tls(file: Path, pem: Path, tls: str, mistake: str) -> None:
    assert refused(file, f"tls: {tls}") == [f"c.yaml:{mistake}"]
    _, wrong = check([file], {})
    assert [str(each).removeprefix(f"{pem}/") for each in wrong] == [f"c.yaml:{mistake}"]


def test_nobody_is_asked_for_the_password_of_a_key(file: Path, pem: Path) -> None:
    """There is nobody at the terminal; with one there, OpenSSL would wait."""
    encrypted = subprocess.run(
        ["openssl", "pkey", "-in", pem / "server.key", "-aes128", "-passout", "pass:secret"],
        check=True,
        capture_output=True,
    )
    (pem / "locked.key").write_bytes(encrypted.stdout)
    file.write_text(UPSTREAM + WHOLE.replace("server.key", "locked.key"), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "sidecar", "check", file],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert ended.returncode == 1
    wrong, _ = ended.stderr.splitlines()
    assert wrong == (
        f"{file}:2:6: tls: key has no private key in PEM that can be read without a password"
    )
