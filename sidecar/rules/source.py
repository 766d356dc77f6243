"""Where a configuration comes from, so that it can be read again; and what is new in it then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, NamedTuple

from sidecar.rules.accesssection import Access
from sidecar.rules.catalogue import Catalogue, shipped_catalogue, shipped_names
from sidecar.rules.config import Config, load_config
from sidecar.rules.configvalues import Address

NEEDS_RESTART: Final = ("listen", "reuse_port", "admin", "tls")
"""The keys that say where, and by which files, a process listens. What is bound stays bound; and
files of ``tls`` that change are read by the listener itself."""


_KEYS_OF_ACCESS: Final = {
    "keys": "auth",
    "key_files": "auth",
    "hosts": "hosts",
    "cors": "cors",
    "tls": "tls",
}
"""The fields of the value, and the keys that they are of."""


class Read(NamedTuple):
    """What the files say."""

    config: Config
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Source:
    """The file at ``path``, and what it names. ``environment`` is what it may name variables of;
    ``listen`` and ``admin``, if they are given, go before its own."""

    path: Path
    environment: Mapping[str, str]
    listen: Address | None = None
    admin: Address | None = None

    def read(self) -> Read:
        """What it says now. Blocks; raises :class:`~sidecar.errors.ConfigError` with all the
        mistakes of the file, or else of the formats."""
        config = load_config(self.path, self.environment, shipped_names())
        config = replace(
            config, listen=self.listen or config.listen, admin=self.admin or config.admin
        )
        return Read(config, shipped_catalogue(config.formats))

    def files(self, config: Config) -> frozenset[Path]:
        """The file, and all files and folders that ``config``, which was read from it, names."""
        access, upstream = config.access, config.upstream
        of_listener = access.tls.files if access.tls is not None else ()
        named = {self.path, *access.key_files, *of_listener, *upstream.tls.files}
        return frozenset(named if config.formats is None else {*named, config.formats})


def changed_keys(old: Read, new: Read) -> tuple[str, ...]:
    """The keys at the top of the file that mean something else now."""
    changed = [
        name
        for name in (field.name for field in fields(Config) if field.name != "access")
        if getattr(old.config, name) != getattr(new.config, name)
        or (name == "formats" and old.catalogue != new.catalogue)
    ]
    changed += [
        _KEYS_OF_ACCESS[field.name]
        for field in fields(Access)
        if getattr(old.config.access, field.name) != getattr(new.config.access, field.name)
    ]
    return tuple(dict.fromkeys(changed))


def as_it_listens(running: Config, new: Config) -> Config:
    """``new``, with what needs a restart as it is in the process that runs."""
    return replace(
        new,
        listen=running.listen,
        reuse_port=running.reuse_port,
        admin=running.admin,
        access=replace(new.access, tls=running.access.tls),
    )
