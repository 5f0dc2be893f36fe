"""Keys for the brokers and peers of a test: one folder of keys, which all of them share.

`use` makes the folder and sets two variables, which all processes of the test inherit. `MDP_KEYS`
names a contact file: with its keys all of `mdp` connects to a tcp:// address, and so do the sockets
of `new_context`. `MDP_TEST_KEYS` names the folder: brokers that a test starts ask for these keys.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import MutableMapping
from pathlib import Path

import zmq

from mdp.keys.key_folder import SITE, KeyFolder
from mdp.system import contact
from mdp.system.contact import KEYS_VARIABLE, Contact

FOLDER_VARIABLE = "MDP_TEST_KEYS"
_NOBODY = "tcp://127.0.0.1:9"


def use(folder: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Make the keys in this folder, and have everything that this environment starts use them."""
    keys = KeyFolder(folder / SITE)
    keys.prepare()
    write_contact(folder / SITE, _NOBODY, keys)
    environment[KEYS_VARIABLE] = str(folder / SITE)
    environment[FOLDER_VARIABLE] = str(folder)


def of_site() -> KeyFolder:
    """Return the folder of keys that `use` has made."""
    return KeyFolder(Path(os.environ[FOLDER_VARIABLE], SITE))


def write_contact(path: Path, address: str, keys: KeyFolder) -> None:
    """Write a contact file with the site's keys; any broker at the address is right."""
    site = keys.pair(SITE)
    broker = keys.pair("broker")["public"]
    contact.write(
        path,
        Contact(
            address,
            broker_key=broker,
            public_key=site["public"],
            secret_key=site["secret"],
            key_name=SITE,
        ),
    )


def broker_options(endpoint: str) -> list[str]:
    """Return the options of `mdp broker` for the keys; none if there are none.

    A broker that is started again at its address has the same contact file again.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return []
    path = Path(folder, "broker-" + re.sub(r"\W+", "-", endpoint)[-40:])
    own = KeyFolder(path)
    if not own.path.exists():
        shutil.copytree(of_site().path, own.path)
    return ["--contact", str(path), "--keys"]


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return a context whose sockets use the keys of MDP_KEYS, with nothing but pyzmq."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    path = os.environ.get(KEYS_VARIABLE)
    if path is not None:
        keys = json.loads(Path(path).read_text())
        context.setsockopt(zmq.CURVE_SERVERKEY, keys["broker_key"].encode())
        context.setsockopt(zmq.CURVE_PUBLICKEY, keys["public_key"].encode())
        context.setsockopt(zmq.CURVE_SECRETKEY, keys["secret_key"].encode())
    return context
