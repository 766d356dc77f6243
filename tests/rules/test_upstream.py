"""The ``upstream`` of the configuration file: whom to trust, how to get there, how often to try."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from sidecar.checking import check
from sidecar.errors import ConfigError
from sidecar.rules.config import load_config
from sidecar.rules.upstreamsection import Reuse, Tls, Upstream

SECRET = "s3cr3t"


class Folder:
    """A configuration, and the files beside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        authority = trustme.CA()
        issued = authority.issue_cert("client")
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        issued.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
        issued.private_key_pem.write_to_path(str(folder / "client.key"))
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
        authority.issue_cert("other").private_key_pem.write_to_path(str(folder / "other.key"))
        (folder / "text").write_text(SECRET)
        (folder / "bad.pem").write_text(
            f"-----BEGIN CERTIFICATE-----\n{SECRET}\n-----END CERTIFICATE-----\n"
        )
        (folder / "locked.key").write_text(
            f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{SECRET}\n-----END ENCRYPTED PRIVATE KEY-----"
        )

    def load(self, keys: str, url: str = "https://models.example/v1") -> Upstream:
        """The upstream of a file that says ``keys`` of it."""
        file = self.path / "c.yaml"
        file.write_text(f"upstream:\n  base_url: {url}\n  {keys}\n", encoding="utf-8")
        return load_config(file, {"RETRIES": "2"}, ("all",)).upstream

    def refused(self, keys: str, url: str = "https://models.example/v1") -> str:
        """The one mistake, which ``sidecar check`` finds too."""
        with pytest.raises(ConfigError) as error:
            self.load(keys, url)
        (mistake,) = error.value.mistakes
        assert check([self.path / "c.yaml"], {"RETRIES": "2"}) == ([], [mistake])
        assert SECRET not in str(mistake)
        return str(mistake).removeprefix(f"{self.path}/c.yaml:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("configuration"))


def test_the_defaults(folder: Folder) -> None:
    """The system's authorities, no certificate of our own, no retries; TLS is kept."""
    upstream = folder.load("")
    assert upstream.tls == Tls(None, None, None, None)
    assert (upstream.unix_socket, upstream.reuse, upstream.retries) == (None, Reuse.AUTO, 0)


def test_every_key_of_tls(folder: Folder) -> None:
    """Files are seen from the file that names them."""
    found = folder.load(
        "tls: {ca: ca.pem, certificate: client.pem, key: client.key, server_name: a.example}"
    )
    at = folder.path
    assert replace(found.tls, digest=b"") == Tls(
        at / "ca.pem", at / "client.pem", at / "client.key", "a.example"
    )
    absolute = folder.load(f"tls: {{ca: {at / 'ca.pem'}}}")
    assert absolute.tls.files == (at / "ca.pem",)
    assert folder.load("tls: {certificate: both.pem, key: both.pem}").tls.key == at / "both.pem"


def test_what_tls_becomes(folder: Folder) -> None:
    """Who has no right certificate is no upstream, and HTTP/1.1 is all that is spoken."""
    context = folder.load("tls: {ca: ca.pem}").tls.context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("name", ["localhost", "a.b.example", "10.0.0.1", "::1", "my_host", "a-b"])
def test_names_of_servers(folder: Folder, name: str) -> None:
    assert folder.load(f"tls: {{server_name: '{name}'}}").tls.server_name == name


@pytest.mark.parametrize("reuse", Reuse)
def test_reuse_and_retries(folder: Folder, reuse: Reuse) -> None:
    """A number may come from the environment, which knows only text."""
    assert folder.load(f"reuse: {reuse}").reuse is reuse
    assert [folder.load(f"retries: {n}").retries for n in (0, 5, '"3"', "${RETRIES}")] == [
        0,
        5,
        3,
        2,
    ]


def test_a_unix_socket(folder: Folder) -> None:
    """It need not be there yet."""
    found = folder.load("unix_socket: run/model.sock", "http://localhost/v1")
    assert found.unix_socket == folder.path / "run/model.sock"
    longest = "/" + "a" * 106
    assert folder.load(f"unix_socket: {longest}", "http://localhost/v1").unix_socket == Path(
        longest
    )


NO_FILE = "expected a file that can be read (no such file or directory), as seen from this file"
NO_CERTIFICATE = "expected a PEM file with certificates, and there is none in it"
NO_KEY = "expected a PEM file with a private key, and there is none in it"
NOT_ITS_KEY = (
    "found a key that does not fit the certificate or has a password, expected the certificate's "
    "own key without one"
)
NUMBER = "expected a number from 0 to 5"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("tls: {ca: nowhere.pem}", f"3:13: upstream.tls.ca: found 'nowhere.pem', {NO_FILE}"),
        ("tls: {ca: text}", f"3:13: upstream.tls.ca: found 'text', {NO_CERTIFICATE}"),
        ("tls: {ca: bad.pem}", f"3:13: upstream.tls.ca: found 'bad.pem', {NO_CERTIFICATE}"),
        ("tls: {ca: client.key}", f"3:13: upstream.tls.ca: found 'client.key', {NO_CERTIFICATE}"),
        ("tls: {ca: 5}", "3:13: upstream.tls.ca: found 5, expected a PEM file with certificates, "
         "as seen from this file"),
        ("tls: {ca: }", "3:9: upstream.tls.ca: found nothing, expected a value; leave the key out "
         "to leave it open"),
        ("tls: {certificate: text, key: client.key}",
         f"3:22: upstream.tls.certificate: found 'text', {NO_CERTIFICATE}"),
        ("tls: {certificate: client.pem, key: text}",
         f"3:39: upstream.tls.key: found 'text', {NO_KEY}"),
        ("tls: {certificate: client.pem, key: client.pem}",
         f"3:39: upstream.tls.key: found 'client.pem', {NO_KEY}"),
        ("tls: {certificate: client.pem, key: gone.key}",
         f"3:39: upstream.tls.key: found 'gone.key', {NO_FILE}"),
        ("tls: {certificate: client.pem, key: other.key}", f"3:8: upstream.tls: {NOT_ITS_KEY}"),
        ("tls: {certificate: client.pem, key: locked.key}", f"3:8: upstream.tls: {NOT_ITS_KEY}"),
        ("tls: {certificate: client.pem}", "3:8: upstream.tls: key is missing, expected "
         "certificate and key or neither"),
        ("tls: {key: client.key}", "3:8: upstream.tls: certificate is missing, expected "
         "certificate and key or neither"),
        ("tls: {server_name: 'a b'}", "3:22: upstream.tls.server_name: found 'a b', expected a "
         "host's name, such as api.example.com"),
        ("tls: {server_name: '*.example'}", "3:22: upstream.tls.server_name: found '*.example', "
         "expected a host's name, such as api.example.com"),
        ("tls: {server_name: a..b}", "3:22: upstream.tls.server_name: found 'a..b', expected a "
         "host's name, such as api.example.com"),
        ("tls: {verify: false}", "3:9: upstream.tls.verify: unknown key, expected 'ca', "
         "'certificate', 'key' or 'server_name'"),
        ("tls: ", "3:3: upstream.tls: found nothing, expected a value; leave the key out to leave "
         "it open"),
        ("reuse: 7", "3:10: upstream.reuse: found 7, expected 'auto', 'always' or 'never'"),
        ("retries: 6", f"3:12: upstream.retries: found 6, {NUMBER}"),
        ("retries: -1", f"3:12: upstream.retries: found -1, {NUMBER}"),
        ("retries: true", f"3:12: upstream.retries: found true, {NUMBER}"),
        ("retries: 1.0", f"3:12: upstream.retries: found 1.0, {NUMBER}"),
        ("retries: '10'", f"3:12: upstream.retries: found '10', {NUMBER}"),
        ("unix_socket: /model.sock", "2:3: upstream: found unix_socket with a base_url of https, "
         "expected one of http: a socket of this machine is spoken to without TLS"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence(folder: Folder, keys: str, line: str) -> None:
    """What is wrong with a file is said before anybody connects, and without what is in it."""
    assert folder.refused(keys) == line


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("tls: {}", "2:3: upstream: found tls with a base_url of http, expected one of https"),
        ("unix_socket: ''", "3:16: upstream.unix_socket: found '', expected the path of a Unix "
         "socket, as seen from this file"),
        (f"unix_socket: /{'a' * 107}", f"3:16: upstream.unix_socket: found '/{'a' * 58}…, expected "
         "a path of up to 107 bytes, which is what a socket's may have"),
        (f"unix_socket: /{'ä' * 54}", f"3:16: upstream.unix_socket: found '/{'ä' * 54}', expected "
         "a path of up to 107 bytes, which is what a socket's may have"),
    ],
)  # fmt: skip
def test_each_mistake_where_there_is_no_tls(folder: Folder, keys: str, line: str) -> None:
    """What only plain HTTP can get wrong."""
    assert folder.refused(keys, "http://localhost/v1") == line


def test_other_files_make_another_upstream(tmp_path: Path) -> None:
    """By what they say, so that a new certificate at the same path is served by."""
    folder = Folder(tmp_path)
    before = folder.load("tls: {ca: ca.pem}")
    assert folder.load("tls: {ca: ca.pem}") == before
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert folder.load("tls: {ca: ca.pem}") != before
