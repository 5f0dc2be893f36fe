"""What the owner of a key may do at a broker. Pure."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field

ROLES = {
    "client": "may ask services, and cancel its own requests",
    "worker": "may serve the services that its key names, and ask, as a client",
    "operator": "may see which peers there are, cancel the requests of others, and ask",
    "site": "may do all of this: the key in the broker's own contact file",
}


@dataclass(frozen=True)
class Rights:
    """A key's name, its role, and the services that it may serve (patterns such as `ssnet-*`)."""

    name: str = field(compare=False)  # a site's key gets another one when it is replaced
    role: str
    services: tuple[str, ...] = ()
    public: str = ""
    """The public key, in Z85; two keys of one name are two owners."""

    def may_serve(self, service: bytes) -> bool:
        """Return whether a worker with this key may say READY for a service."""
        name = service.decode("utf-8", "replace")
        serves = self.role in ("worker", "site")
        return serves and any(fnmatch.fnmatchcase(name, pattern) for pattern in self.services)

    @property
    def may_operate(self) -> bool:
        """True if it may read reports that name peers, and act on the requests of others."""
        return self.role in ("operator", "site")


EVERYTHING = Rights("", "site", ("*",))
"""The rights of every peer of a broker without keys."""
