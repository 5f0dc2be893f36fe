"""The folder of a broker's keys, FILE.keys beside its contact file FILE.

broker.key       the broker's own pair: public and secret
site.key         the pair in the contact file, which may do everything
known/NAME.json  each public key that the broker accepts, with its role; and those it has revoked
started.json     how the last broker was started: for the next one, and for `mdp keys`

The folder has mode 0700, the two pairs 0600. `mdp keys` changes `known/`, and running brokers read
it again (`key_ring`).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import MDPError, SettingsError
from ..sockets import new_key_pair, unix_time
from ..sockets.addresses import is_key
from ..system.private_files import (
    check_private,
    make_folder_of,
    make_private_folder,
    write_once,
    write_whole,
)
from .rights import ROLES, Rights

FORMAT = "mdp key 1"
SITE = "site"
_STARTED = "started.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_BYTES = 65536


@dataclass(frozen=True)
class KnownKey:
    """A public key that a broker knows."""

    rights: Rights
    made_at: float = 0.0
    """Unix time."""
    revoked_at: float | None = None
    """Unix time; None: it is valid."""


@dataclass(frozen=True)
class Start:
    """How a broker was started."""

    publish: str = ""
    """The path of its published file (--publish); empty: it has none."""
    command: str = ""
    """Its command line, for a shell."""
    folder: str = ""
    """The folder in which it was started."""


class KeyFolder:
    """The keys of the broker whose contact file is `contact`."""

    def __init__(self, contact: str | Path) -> None:
        contact = Path(contact)
        self.path = contact.with_name(contact.name + ".keys")
        self.known = self.path / "known"

    @property
    def exists(self) -> bool:
        return (self.path / "broker.key").exists()

    def prepare(self) -> None:
        """Make the folder with the broker's pair and the site's pair, where they are missing.

        Raises `MDPError` if it cannot be written, if others can read it, or if others can write
        in the folder of the contact file.
        """
        make_folder_of(self.path, is_private=True)
        make_private_folder(self.path)
        make_private_folder(self.known)
        for name in ("broker", SITE):
            path = self.path / f"{name}.key"
            if not path.exists():
                write_once(path, _text(_new_pair()))  # another broker may do so at the same time
        self._admit_site()

    def renew(self, name: str) -> None:
        """Make a new pair, `broker` or `site`; the old site key stays valid, as site-UNIXTIME."""
        if name == SITE and (self.path / "site.key").exists():
            old = self.pair(SITE)["public"]
            for key in self.read():
                if key.rights.public == old and key.rights.name == SITE:
                    rights = replace(key.rights, name=self._free_name())
                    self._write_known(replace(key, rights=rights))  # one revoked stays revoked
        self._write(self.path / f"{name}.key", _new_pair())
        if name == SITE:
            self._admit_site()

    def _free_name(self) -> str:
        now = int(unix_time())
        while (self.known / f"{SITE}-{now}.json").exists():
            now += 1
        return f"{SITE}-{now}"

    def _admit_site(self) -> None:
        """Accept the key of `site.key`; another broker may have made it at the same time."""
        public = self.pair(SITE)["public"]
        if not any(k.rights.public == public and k.rights.name == SITE for k in self.read()):
            self.add(SITE, SITE, public, ("*",))

    def pair(self, name: str) -> dict[str, str]:
        """Return the pair `broker` or `site`: public and secret. Raises `MDPError`."""
        path = self.path / f"{name}.key"
        check_private(path)
        values = _load(path)
        if not all(is_key(values.get(part)) for part in ("public", "secret")):
            raise MDPError(f"{path} has no pair of keys")
        return values

    def add(self, name: str, role: str, public: str, services: tuple[str, ...]) -> None:
        """Accept a public key. Raises `SettingsError` for a wrong name, role or key."""
        check_name(name)
        if role not in ROLES:
            raise SettingsError(f"want a role of {', '.join(ROLES)}, got {role!r}")
        if not is_key(public):
            raise SettingsError(f"want a public key of 40 characters (Z85), got {public!r}")
        key = KnownKey(Rights(name, role, services, public), unix_time())
        self._write_known(key)

    def revoke(self, name: str) -> KnownKey:
        """Mark a key as revoked. Raises `SettingsError` if there is no such key."""
        check_name(name)
        path = self.known / f"{name}.json"
        if not path.exists():
            raise SettingsError(f"no key {name!r} in {self.known}; `mdp keys list` shows them")
        key = self._known(path)
        revoked = KnownKey(key.rights, key.made_at, key.revoked_at or unix_time())
        self._write_known(revoked)
        return revoked

    def valid(self, damaged: dict[str, MDPError]) -> dict[str, Rights]:
        """Return the rights of each valid public key: a revoked one is out under all its names.

        Files that are not those of a key are put into `damaged`, by name, with the reason.
        """
        keys = self.read(damaged)
        revoked = {key.rights.public for key in keys if key.revoked_at is not None}
        return {key.rights.public: key.rights for key in keys if key.rights.public not in revoked}

    def read(self, damaged: dict[str, MDPError] | None = None) -> list[KnownKey]:
        """Return all known keys, by name. Raises `MDPError` if the folder cannot be read.

        damaged: gets the files that are not those of a key, which are an error otherwise.

        A file that is not a key's is an error, too: it might be a key that somebody wants revoked.
        """
        try:
            names = sorted(name for name in os.listdir(self.known) if name.endswith(".json"))
        except OSError as error:
            raise MDPError(f"cannot read the keys in {self.known}: {error.strerror}") from None
        keys = []
        for name in names:
            if name.startswith("."):
                continue
            try:
                keys.append(self._known(self.known / name))
            except MDPError as error:
                if damaged is None:
                    raise
                damaged[name.removesuffix(".json")] = error
        return keys

    def note_start(self, start: Start) -> None:
        """Note how a broker was started. Raises `MDPError`."""
        self._write(self.path / _STARTED, asdict(start))

    def last_start(self) -> Start:
        """Return how the last broker was started; empty if none was. Raises `MDPError`."""
        if not (self.path / _STARTED).exists():
            return Start()
        values = _load(self.path / _STARTED)
        texts = {field.name: values.get(field.name, "") for field in fields(Start)}
        return Start(**{name: text for name, text in texts.items() if isinstance(text, str)})

    def _known(self, path: Path) -> KnownKey:
        values = _load(path)
        name, role, services = path.stem, values.get("role"), values.get("services", [])
        made_at, revoked_at = values.get("made_at", 0.0), values.get("revoked_at")
        is_whole = (
            isinstance(role, str)
            and role in ROLES
            and is_key(values.get("public"))
            and isinstance(services, list)
            and all(isinstance(service, str) for service in services)
            and _is_time(made_at)
            and (revoked_at is None or _is_time(revoked_at))
        )
        if not is_whole:
            raise MDPError(
                f"{path} is not the file of a known key: want role, public, services, made_at"
            )
        rights = Rights(name, str(role), tuple(services), values["public"])
        return KnownKey(rights, made_at, revoked_at)

    def _write_known(self, key: KnownKey) -> None:
        rights = key.rights
        values: dict[str, Any] = {"role": rights.role, "services": list(rights.services)}
        values |= {"public": rights.public, "made_at": key.made_at}
        if key.revoked_at is not None:
            values["revoked_at"] = key.revoked_at
        self._write(self.known / f"{rights.name}.json", values)

    def _write(self, path: Path, values: dict[str, Any]) -> None:
        write_whole(path, _text(values))


def check_name(name: str) -> None:
    """Raise `SettingsError` if a key cannot have this name, which is that of a file, too."""
    if not _NAME.fullmatch(name):
        wanted = "want a NAME of at most 64 letters, digits, dots, dashes and underscores"
        raise SettingsError(f"{wanted}, and a letter or digit first, got {name!r}")


def _text(values: dict[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **values}, indent=1) + "\n"


def _new_pair() -> dict[str, Any]:
    public, secret = new_key_pair()
    return {"public": public, "secret": secret}


def _is_time(value: object) -> bool:
    """True for a Unix time that can be shown as a date."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0.0 <= value < 4e9  # type: ignore[operator]


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a named pipe, too, without a wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _load(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            text = file.read(_MAX_BYTES + 1) or b""
        values = json.loads(text)
    except OSError as error:
        raise MDPError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise MDPError(f"{path} is not the file of a key: it is not JSON") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise MDPError(f"{path} is not the file of a key: it has no format {FORMAT!r}")
    return values
