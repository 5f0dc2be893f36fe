"""`python -m tests.interop.silent_about_mmi ENDPOINT`: a broker that answers nothing under `mmi.`.

As `majortomo`'s does, it takes such a name for a service without workers. It echoes all else.
"""

from __future__ import annotations

import sys

import zmq


def main(endpoint: str) -> None:
    router = zmq.Context().socket(zmq.ROUTER)
    router.bind(endpoint)
    while True:
        client, header, _, service, *body = router.recv_multipart()
        if not service.startswith(b"mmi."):
            router.send_multipart([client, header, b"\x03", service, *body])


if __name__ == "__main__":
    main(sys.argv[1])
