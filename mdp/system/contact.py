"""The contact file of a broker: it tells workers and clients where the broker is now.

`mdp broker --contact FILE` writes the file. `--broker @FILE` reads it again at each new connection,
so a broker may move to another host or port. The broker's instance id in the file tells it apart
from another broker that has the same address later: nothing is sent to a broker with another id.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import MDPError, SettingsError
from ..sockets import addresses
from ..sockets.addresses import ClientKeys
from ..sockets.addresses import Place as Place
from .private_files import write_whole

FORMAT = "mdp contact 1"
_MAX_BYTES = 65536
_MAX_LINKS = 8  # files that refer to each other


class NoContact(MDPError):
    """There is no contact file, or the file is not one; so nobody knows where the broker is."""

    is_missing = False
    """True if there is no file."""


class _Missing(NoContact):
    is_missing = True


@dataclass(frozen=True)
class Contact:
    """What a contact file says about its broker."""

    address: str
    instance: str = ""
    """The broker's id, 16 hex digits, new at each start; empty: any broker at the address."""
    host: str = ""
    pid: int = 0
    user: str = ""
    job: str = ""
    """The batch job that runs the broker, such as 8812_3; empty if there is none."""
    started_at: float = 0.0
    """Unix time."""
    broker_key: str = ""
    """The broker's public key, in Z85; empty: it has no keys."""
    public_key: str = ""
    secret_key: str = field(default="", repr=False)
    """With these keys the reader of the file connects; empty in a published file."""
    key_name: str = ""

    @property
    def keys(self) -> ClientKeys | None:
        """Return the keys to connect with; None: the broker has none, or the file has none."""
        if not (self.broker_key and self.secret_key):
            return None
        return ClientKeys(self.broker_key, self.public_key, self.secret_key, self.key_name)

    def published(self) -> Contact:
        """Return what people with keys of their own may read."""
        return replace(self, public_key="", secret_key="", key_name="")


def host_name() -> str:
    """Return the name of this machine, as its network knows it."""
    return os.uname().nodename


def user_name() -> str:
    """Return the name of the user who runs this process; the number of one without a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def write(path: str | Path, contact: Contact, *, mode: int = 0o600) -> None:
    """Write the file; a reader sees the old contents or the new ones.

    Raises `MDPError` if it cannot be written.
    """
    _write(Path(path), asdict(contact), mode=mode)


def write_own_keys(path: str | Path, published: str, keys: ClientKeys) -> None:
    """Write the contact file of one person: where the broker's published file is, and keys.

    Raises `MDPError` if it cannot be written.
    """
    values = {"see": f"@{published}", "key_name": keys.name, "broker_key": keys.broker}
    _write(Path(path), {**values, "public_key": keys.public, "secret_key": keys.secret})


def write_link(path: str | Path, broker: str) -> None:
    """Write a file that refers to a broker of the user: an address, or the @FILE of another file.

    Raises `MDPError` if it cannot be written.
    """
    _write(Path(path), {"see": broker} if broker.startswith("@") else {"address": broker})


def read(path: str | Path) -> Contact:
    """Read a contact file. Raises `NoContact`."""
    return _read(Path(path), _MAX_LINKS)


def remove(path: str | Path, instance: str) -> None:
    """Remove the file, if it is still that of the broker with this id."""
    with contextlib.suppress(NoContact, OSError):
        if _contact(Path(path), _load(Path(path))).instance == instance:
            os.unlink(path)


def locate(broker: str) -> Place:
    """Return the place of a broker: `@FILE` is read now, an address is taken as it is.

    The variable `MDP_KEYS` names the contact file whose keys are used for tcp:// addresses.
    Raises `NoContact` and `SettingsError`.
    """
    if not broker.startswith("@"):
        return Place(broker, keys=_keys_for(addresses.parse(broker)))
    contact = read(os.path.expanduser(addresses.contact_path(broker)))
    if contact.broker_key and contact.keys is None:
        raise NoContact(
            f"{addresses.contact_path(broker)} is a published file, without a key of yours: ask the"
            " broker's owner for a file of your own (`mdp keys new NAME`), and name that one"
        )
    keys = contact.keys and replace(contact.keys, source=broker)
    return Place(contact.address, contact.instance or None, keys)


KEYS_VARIABLE = "MDP_KEYS"


def _keys_for(address: addresses.Address) -> ClientKeys | None:
    """Return the keys for an address that the user has typed: through a tunnel of ssh, say."""
    path = os.environ.get(KEYS_VARIABLE)
    if not path or address.path:
        return None
    file = Path(os.path.expanduser(path.removeprefix("@")))
    try:
        keys = read(file).keys
    except _Missing:
        keys = _keys_alone(file)  # on a machine where the published file is not
    if keys is None:
        raise NoContact(f"{KEYS_VARIABLE} names {path}, which has no keys")
    return replace(keys, source=f"{KEYS_VARIABLE}={path}")


def _keys_alone(path: Path) -> ClientKeys | None:
    """Return the keys of a person's file, with the broker's key of the time when it was made."""
    values = _load(path)
    names = (*_OWN_KEYS, "broker_key")
    mine = _checked(path, {name: values[name] for name in names if name in values})
    if not (mine.get("broker_key") and mine.get("secret_key")):
        return None
    return ClientKeys(
        mine["broker_key"], mine.get("public_key", ""), mine["secret_key"], mine.get("key_name", "")
    )


def _read(path: Path, links: int) -> Contact:
    values = _load(path)
    link = values.get("see")
    if link is None:
        return _contact(path, values)
    if not links or not isinstance(link, str) or not link.startswith("@") or len(link) < 2:
        raise _not_a_contact(path, f"it refers to {link!r}")
    try:
        contact = _read(path.parent / link[1:], links - 1)
    except _Missing:
        raise _Missing(
            f"no file {link[1:]}, to which {path} refers: the broker has ended, or writes no such"
            " file any more; ask the broker's owner"
        ) from None
    mine = {name: values[name] for name in _OWN_KEYS if name in values}
    if not mine:
        return contact
    return replace(contact, **_checked(path, mine))


_OWN_KEYS = ("public_key", "secret_key", "key_name")


def _load(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            text = file.read(_MAX_BYTES + 1) or b""
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        raise _Missing(
            f"no contact file {path}: its broker has ended or was not started;"
            f" `mdp broker --contact {path}` starts one"
        ) from None
    except OSError as error:
        raise NoContact(f"cannot read the contact file {path}: {error.strerror}") from None
    except ValueError:  # a path in a file that refers to it may have any characters
        raise NoContact(f"cannot read the contact file {str(path)!r}: not a path") from None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise _not_a_contact(path, "it is not JSON") from None
    if len(text) > _MAX_BYTES or not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _not_a_contact(path, f"it has no format {FORMAT!r}")
    if values.get("secret_key") and mode & 0o077:
        raise NoContact(
            f"others can read the keys in {path} (mode {mode & 0o777:04o}): `chmod 600 {path}`, and"
            f" {_REPLACE['see' in values]}"
        )
    return values


_REPLACE = {
    False: "replace the keys if others may have read them (`mdp keys rotate`)",
    True: "if others may have read them, ask the broker's owner to revoke this key (`mdp keys"
    " revoke`) and to make another",
}


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a named pipe, too, without a wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _contact(path: Path, values: dict[str, Any]) -> Contact:
    """Check the known fields; others belong to a later version, and are ignored."""
    known = _checked(path, {f.name: values[f.name] for f in fields(Contact) if f.name in values})
    try:
        addresses.parse(known.get("address", ""))
    except SettingsError as error:
        raise _not_a_contact(path, str(error)) from None
    return Contact(**known)


def _checked(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    for name, value in known.items():
        wanted = {"pid": int, "started_at": (int, float)}.get(name, str)
        if not isinstance(value, wanted) or isinstance(value, bool):  # type: ignore[arg-type]
            raise _not_a_contact(path, f"its {name} is {value!r}")
    for name in ("broker_key", "public_key", "secret_key"):
        if known.get(name) and not addresses.is_key(known[name]):
            raise _not_a_contact(path, f"its {name} is not a key, 40 characters of Z85")
    return known


def _not_a_contact(path: Path, why: str) -> NoContact:
    return NoContact(
        f"{path} is not a contact file of a broker: {why};"
        " name the file of `mdp broker --contact FILE`"
    )


def _write(path: Path, values: dict[str, Any], *, mode: int = 0o600) -> None:
    text = json.dumps({"format": FORMAT, **values}, indent=1) + "\n"
    try:
        write_whole(path, text, mode=mode)
    except MDPError as error:
        reason = str(error).removeprefix(f"cannot write {path}: ")
        raise MDPError(f"cannot write the contact file {path}: {reason}") from None
