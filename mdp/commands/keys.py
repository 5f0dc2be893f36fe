"""`mdp keys new|list|revoke|rotate`: who may connect to a broker, and what each may do."""

from __future__ import annotations

import logging
import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from ..keys.key_folder import SITE, KeyFolder, check_name
from ..keys.rights import ROLES
from ..pool.pool_folder import PoolFolder
from ..sockets import new_key_pair, pause
from ..sockets.addresses import ClientKeys
from ..system.broker_report import is_alive
from ..system.contact import NoContact, write_own_keys
from ..system.contact import read as read_contact
from ..system.logs import configure_logging, timestamp
from .command_line import CONTACT_HELP, FILES, SECURITY, SERVED, Quiet, Verbose, new_app, option

log = logging.getLogger(__name__)

app = new_app("keys", "Keys for people and workers: who may connect to a broker.")

_FOLLOWS_S = 1.5  # a running broker reads its keys again each second
_LOOKS = 3  # for an answer to a new key

Contact = Annotated[
    Path,
    option(SERVED, "--contact", metavar="FILE", help=CONTACT_HELP),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key: of a person, say.")]


NEW_HELP = """Make a key for a person, and a file with it that the person names as `--broker @FILE`.

The file NAME.json holds a secret: give it to nobody else, and keep its mode 0600. It refers to \
the file of `mdp broker --publish`, so it stays right when the broker moves.

[bold]Examples[/]

  mdp broker --bind tcp://0.0.0.0:5555 --public --contact july/broker.json \
--publish /shared/july.json
  mdp keys new bob --contact july/broker.json
  mdp keys new farm --role worker --services 'ssnet-plane*' --contact july/broker.json
  mdp keys new ann --role operator --contact july/broker.json -o ann/mine.json
"""


@app.command(help=NEW_HELP)
def new(
    name: Name,
    contact: Contact,
    published: Annotated[
        Path | None,
        option(
            FILES,
            metavar="FILE",
            help="File of `mdp broker --publish FILE`. Default: that of the last broker.",
        ),
    ] = None,
    role: Annotated[
        str,
        option(
            SECURITY,
            metavar="ROLE",
            help="What the key may do: client, worker or operator; see docs/security.md.",
        ),
    ] = "client",
    services: Annotated[
        list[str] | None,
        option(
            SECURITY,
            metavar="PATTERN",
            help="Services that a worker may serve, such as 'ssnet-plane*'; repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        option(FILES, "--output", "-o", metavar="FILE", help="File to write. Default: NAME.json."),
    ] = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    folder = _folder(contact)
    check_name(name)
    patterns = tuple(services or ())
    if role not in ROLES or role == SITE:
        raise SettingsError(f"want --role client, worker or operator, got {role!r}")
    if role == "worker" and not patterns:
        raise SettingsError("--role worker needs --services, such as --services 'ssnet-plane*'")
    if role != "worker" and patterns:
        raise SettingsError(f"--services is for --role worker, got --role {role}")
    if any(key.rights.name == name for key in folder.read()):
        raise SettingsError(
            f"there is a key {name!r} already, perhaps a revoked one: choose another NAME"
        )
    where = _published(folder, published, contact)
    path = Path(f"{name}.json") if output is None else output
    if path.exists():
        raise SettingsError(f"{path} exists: name another file (--output)")
    public, secret = new_key_pair()
    write_own_keys(path, where, ClientKeys(folder.pair("broker")["public"], public, secret, name))
    try:
        folder.add(name, role, public, patterns)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    print(f"{path}: the key of {name} ({role}); give the file to nobody else")
    if not _runs(contact):
        return
    pause(_FOLLOWS_S)
    if not any(_runs(path, timeout_s=2.0) for _ in range(_LOOKS)):
        log.warning("the running broker does not let this key in yet: its log may say why")


LIST_HELP = """List the keys that a broker knows, with their roles.

[bold]Example[/]

  mdp keys list --contact july/broker.json
"""


@app.command("list", help=LIST_HELP)
def list_keys(contact: Contact, verbose: Verbose = False, quiet: Quiet = False) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    rows = [("name", "role", "services", "made", "state")]
    for key in _folder(contact).read():
        rights = key.rights
        gone = key.revoked_at
        state = "valid" if gone is None else f"revoked {timestamp(gone)}"
        services = " ".join(rights.services) if rights.role == "worker" else "-"
        rows.append((rights.name, rights.role, services, timestamp(key.made_at), state))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


REVOKE_HELP = """Make a key invalid: its connections end within seconds, and no new ones are let in.

Its workers' requests go to other workers, and its own requests are cancelled. The key cannot be \
made valid again; make a new one.

[bold]Example[/]

  mdp keys revoke bob --contact july/broker.json
"""


@app.command(help=REVOKE_HELP)
def revoke(name: Name, contact: Contact, verbose: Verbose = False, quiet: Quiet = False) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    folder = _folder(contact)
    revoked = folder.revoke(name)
    print(f"revoked {revoked.rights.name} ({revoked.rights.role}); a running broker follows soon")
    if revoked.rights.public == folder.pair(SITE)["public"]:
        print(f"this key is in {contact}: `mdp keys rotate` makes a new one, or nobody can connect")


ROTATE_HELP = """Make new keys for the broker and for its contact file. Nothing stops.

The running broker goes on with its old key. The next broker takes the new ones: start it with \
--take-over, and the running one hands over to it. Then revoke the old site key, which \
`mdp keys list` shows as site-TIME. docs/security.md has the steps.

[bold]Example[/]

  mdp keys rotate --contact july/broker.json
"""


@app.command(help=ROTATE_HELP)
def rotate(contact: Contact, verbose: Verbose = False, quiet: Quiet = False) -> None:
    configure_logging(verbose=verbose, quiet=quiet)
    folder = _folder(contact)
    folder.renew("broker")
    folder.renew(SITE)
    if PoolFolder(contact.parent).exists:
        print(f"new keys in {folder.path}; the pool's keeper starts the next broker in a minute")
    else:
        start = folder.last_start()
        print(f"new keys in {folder.path}; now start the next broker, which takes over:")
        if start.command and start.folder != os.getcwd():
            print(f"  cd {shlex.quote(start.folder)}")
        command = start.command or f"mdp broker --contact {shlex.quote(str(contact))}"
        print(f"  {command} --take-over")
    print("When the old broker has ended, revoke the old site key: site-TIME in `mdp keys list`")


def _runs(file: Path, *, timeout_s: float = 3.0) -> bool:
    """True if the broker of a contact file answers to the key in the file."""
    try:
        return is_alive(read_contact(file), timeout_s=timeout_s)
    except NoContact:
        return False


def _published(folder: KeyFolder, path: Path | None, contact: Path) -> str:
    """Return the path of the published file: as typed, or that of the last broker."""
    if path is not None:
        return os.path.abspath(path)
    if noted := folder.last_start().publish:
        return noted
    raise SettingsError(
        f"no broker of {contact} was started with --publish FILE, which tells others where it is:"
        " start it so (--take-over replaces a running one), or name that file with --published"
    )


def _folder(contact: Path) -> KeyFolder:
    """Return the folder of the keys. Raises `SettingsError` if the broker has no keys."""
    folder = KeyFolder(contact)
    if folder.exists:
        return folder
    hint = f"`mdp broker --contact {contact} --keys` starts a broker with"
    try:
        has_keys = bool(read_contact(contact).broker_key)
    except NoContact as error:
        if error.is_missing:
            missing = f"--contact {contact}: no such file, and no keys beside it"
            raise SettingsError(f"{missing}; {hint} keys") from None
        has_keys = False
    if has_keys:
        raise SettingsError(
            f"--contact {contact} is not the broker's own contact file: its keys are not beside it"
        )
    raise SettingsError(f"--contact {contact} has no keys yet; {hint} keys")
