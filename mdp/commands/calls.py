"""The command `mdp call`: send a request, print the answer, write its frames to files."""

from __future__ import annotations

import hashlib
import logging
import math
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ..broker.management import PREFIX
from ..client.client import Client
from ..errors import MDPError, NotServed, RequestTimeout, SettingsError
from ..pool.observe import Outlook, pool_of
from ..settings import ClientSettings
from ..sockets import addresses, clock
from ..wire import service_name
from . import tables

log = logging.getLogger(__name__)

_POLL_S = 0.2
_TRY_S = 1.0  # a broker that knows mmi.service answers sooner
_MAX_NAMES = 20


def read_frame(name: str) -> bytes:
    """Return a file's contents; `-` is standard input."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {name}: {error.strerror}") from None


@dataclass(frozen=True)
class CallSettings:
    """A request, with the options of `mdp call`."""

    service: str
    body: list[bytes]
    out: Path | None
    """Folder for the frames of the answer."""
    wait_s: float
    """Seconds to wait for a worker before the request is sent."""
    quiet: bool


def call_once(broker: str, settings: ClientSettings, call: CallSettings) -> None:
    """Send the request once, and print each part of the answer as it arrives."""
    with Client(broker, settings) as client:
        _check_served(client, call)
        number = 0
        for part in client.stream(call.service, call.body):
            for frame in part:
                print(tables.frame(frame), flush=True)
                _write(call.out, f"{number:04d}", frame)
                number += 1


def call_often(
    broker: str, settings: ClientSettings, call: CallSettings, *, repeat: int, window: int
) -> None:
    """Send the request `repeat` times; print each different answer with its count."""
    counts: Counter[bytes] = Counter()
    samples: dict[bytes, list[bytes]] = {}
    terminal = Console(stderr=True)
    with Client(broker, settings) as client:
        _check_served(client, call)
        answers = client.map(call.service, (call.body for _ in range(repeat)), window=window)
        shown = track(
            answers,
            description=call.service,
            total=repeat,
            console=terminal,
            disable=call.quiet or not terminal.is_terminal,
        )
        try:
            for request, answer in enumerate(shown):
                digest = hashlib.sha256(b"".join(len(f).to_bytes(8, "big") + f for f in answer))
                counts[digest.digest()] += 1
                samples.setdefault(digest.digest(), answer)
                for number, frame in enumerate(answer):
                    _write(call.out, f"{request:06d}-{number:04d}", frame)
        finally:
            _summarise(counts, samples)


# Does the service have workers?


def _check_served(client: Client, call: CallSettings) -> None:
    """Wait `wait_s` for a worker of the service; raise `NotServed` if the broker has none then.

    If the broker does not know `mmi.service` (RFC 8), return: the request is sent in any case.
    """
    if call.service.startswith(PREFIX.decode()):
        return
    pool = pool_of(client.broker)
    outlook = None if pool is None else Outlook(pool)
    if outlook and call.service not in outlook.services:
        outlook = None  # no job of the pool serves it
    if outlook and outlook.adapts and call.wait_s:
        return  # only a queued request makes such a pool start its first worker
    started_at = clock()
    patience_s = max(call.wait_s, client.settings.timeout_s)
    next_line_s = 0.0
    while _code(client, call.service, patience_s) == b"404":
        if pool and not outlook:
            raise NotServed(f"no job of pool {pool.name} serves {call.service}{_served(client)}")
        waited_s = clock() - started_at
        coming = outlook.text() if outlook else ""
        if waited_s >= call.wait_s and not (coming and call.wait_s):
            raise NotServed(_not_served(client, call, coming))
        if waited_s >= next_line_s and not call.quiet:
            _say_waiting(client, call, waited_s, coming)
            next_line_s = math.inf if outlook is None else (waited_s // 60 + 1) * 60
        threading.Event().wait(_POLL_S)


def _say_waiting(client: Client, call: CallSettings, waited_s: float, coming: str) -> None:
    line = f"waiting up to {call.wait_s:g} s for a worker of {call.service}"
    if coming:
        line = f"waiting for a worker of {call.service}, {waited_s:.0f} s: {coming};"
    print(f"mdp: {line} at {client.broker_shown}", file=sys.stderr, flush=True)


def _code(client: Client, service: str, patience_s: float) -> bytes:
    """Return the code from `mmi.service`; 501 if the broker does not answer it."""
    give_up_at = clock() + patience_s
    while True:
        left_s = max(_POLL_S, give_up_at - clock())
        try:
            body, timeout_s = [service_name(service)], min(_TRY_S, left_s)
            return client.request("mmi.service", body, timeout_s=timeout_s, tries=1)[0]
        except RequestTimeout:
            why = client.why_silent()
            if addresses.NO_ANSWER in why:  # it may be a broker without `mmi.service`
                line = "%s does not answer mmi.service; sending the request to %s all the same"
                log.info(line, client.broker_shown, service)
                return b"501"
        if clock() >= give_up_at:
            text = f"no broker answers at {client.broker_shown} within {patience_s:g} s: {why}"
            raise RequestTimeout(text)


def _not_served(client: Client, call: CallSettings, coming: str) -> str:
    waited = f" within {call.wait_s:g} s" if call.wait_s else ""
    hint = "" if call.wait_s else "; --wait SECONDS waits for one"
    hint = f"; {coming}{hint}" if coming else hint
    return (
        f"no worker serves {call.service} at {client.broker_shown}{waited}{_served(client)}{hint}"
    )


def _served(client: Client) -> str:
    try:
        services = client.services(timeout_s=_TRY_S)
    except MDPError:
        return ""  # a foreign broker
    names = sorted(name for name, row in services.items() if row["workers"])
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"; it serves: {', '.join(names[:_MAX_NAMES]) or 'nothing'}{more}"


def _summarise(counts: Counter[bytes], samples: dict[bytes, list[bytes]]) -> None:
    for key, count in counts.most_common(10):
        print(f"{count} times: {' | '.join(tables.frame(frame) for frame in samples[key])}")
    if len(counts) > 10:
        print(f"and {len(counts) - 10} other answers")


def _write(folder: Path | None, name: str, frame: bytes) -> None:
    """Write a frame to its file; a partly written file never has the final name."""
    if folder is None:
        return
    temporary = folder / f".{name}.part"
    try:
        temporary.write_bytes(frame)
        temporary.replace(folder / f"{name}.bin")
    except OSError as error:
        raise MDPError(f"cannot write {folder / name}.bin: {error.strerror}") from None


def make_folder(folder: Path | None) -> None:
    """Create the folder for the answers, so that an error comes before any request."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"want a folder for the answers, got {folder}: {error}") from None
