"""What `mdp call` does: ask, print the answer, keep its frames."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import track

from . import tables
from .client import Client
from .errors import MDPError, SettingsError
from .settings import ClientSettings


def read_frame(name: str) -> bytes:
    """A file's contents; `-` is standard input."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {name}: {error.strerror}") from None


def call_once(
    broker: str, service: str, body: list[bytes], settings: ClientSettings, *, out: Path | None
) -> None:
    """Print each part of the answer as it comes."""
    with Client(broker, settings) as client:
        number = 0
        for part in client.stream(service, body):
            for frame in part:
                print(tables.frame(frame), flush=True)
                _keep(out, f"{number:04d}", frame)
                number += 1


def call_often(
    broker: str,
    service: str,
    body: list[bytes],
    settings: ClientSettings,
    *,
    repeat: int,
    window: int,
    out: Path | None,
) -> None:
    """Ask again and again; print what came how often."""
    seen: Counter[bytes] = Counter()
    samples: dict[bytes, list[bytes]] = {}
    terminal = Console(stderr=True)
    with Client(broker, settings) as client:
        answers = client.map(service, (body for _ in range(repeat)), window=window)
        shown = track(
            answers,
            description=service,
            total=repeat,
            console=terminal,
            disable=not terminal.is_terminal,
        )
        try:
            for request, answer in enumerate(shown):
                digest = hashlib.sha256(b"".join(len(f).to_bytes(8, "big") + f for f in answer))
                seen[digest.digest()] += 1
                samples.setdefault(digest.digest(), answer)
                for number, frame in enumerate(answer):
                    _keep(out, f"{request:06d}-{number:04d}", frame)
        finally:
            _summarise(seen, samples)


def _summarise(seen: Counter[bytes], samples: dict[bytes, list[bytes]]) -> None:
    for key, count in seen.most_common(10):
        print(f"{count} times: {' | '.join(tables.frame(frame) for frame in samples[key])}")
    if len(seen) > 10:
        print(f"and {len(seen) - 10} other answers")


def _keep(folder: Path | None, name: str, frame: bytes) -> None:
    """Write a frame to its file; no half-written one stands under its final name."""
    if folder is None:
        return
    temporary = folder / f".{name}.part"
    try:
        temporary.write_bytes(frame)
        temporary.replace(folder / f"{name}.bin")
    except OSError as error:
        raise MDPError(f"cannot write {folder / name}.bin: {error.strerror}") from None


def make_folder(folder: Path | None) -> None:
    """See that the answers can be kept, before anything is asked."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"want a folder for the answers, got {folder}: {error}") from None
