"""Names and descriptions that the plane services and their clients share.

This module imports no library that computes, so a client does not need one. It refuses malformed
descriptions.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgpack

from mdp import MDPError, SettingsError

DESCRIBE = b"describe"
"""A request with only this frame asks for the service's description and sends no images."""
_MAX_TEXT = 200
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_HASH = 16  # characters of a sha256: 64 bits

PLANES = (0, 1, 2)
"""The numbers of the wire planes U, V and Y."""
MAX_PLANE = 99
"""The largest number of a plane. A detector with several TPCs has more than three; LArCV2 calls
them projections."""


def who() -> dict[str, str]:
    """Return the entries of an answer's info that name this process: `worker` and `host`."""
    host = socket.gethostname()
    return {"worker": f"{host}:{os.getpid()}", "host": host}


def service_name(plane: int, canary: str = "") -> str:
    """Return the name of the service that scores this plane's images.

    canary: the label of a canary, for the shadow name that its workers serve. A shadow name does
    not begin with `ssnet-plane`, so nothing that watches the planes takes it for one. Raises
    `SettingsError` for a label that is not short and plain.
    """
    if not canary:
        return f"ssnet-plane{plane}"
    if not _LABEL.fullmatch(canary):
        raise SettingsError(
            f"want a label of up to 40 letters, digits, '.', '_' and '-' (--canary), got {canary!r}"
        )
    return f"ssnet-canary-{canary}-plane{plane}"


def ranges(planes: Iterable[int]) -> str:
    """Return numbers of planes as an option takes them: `0-2,5`."""
    runs: list[list[int]] = []
    for plane in sorted(set(planes)):
        if runs and plane == runs[-1][-1] + 1:
            runs[-1].append(plane)
        else:
            runs.append([plane])
    return ",".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs
    )


def answer_name(plane: int) -> str:
    """Return the name of a plane's answers, the producer name that SSNet's users know."""
    return f"uburn_plane{plane}"


class DescriptionError(MDPError, ValueError):
    """A worker's description is not that of a plane service."""


@dataclass(frozen=True)
class Origin:
    """The engine, network and settings that decide a score; equal for all workers of a plane."""

    engine: str
    network: str
    """The sha256 of the .prototxt."""
    weights: str
    """The sha256 of the .caffemodel."""
    threshold_adc: float
    """Scores are 0 where the image is below this."""
    dtype: str = ""
    """The type to which sent scores are rounded; empty in records of older software."""

    def fingerprint(self) -> str:
        """Return a readable text that must be equal for all workers of a plane."""
        return (
            f"weights {self.weights[:_HASH] or 'none'} network {self.network[:_HASH]}"
            f" {self.engine} {self.threshold_adc:g} ADC {self.dtype}"
        )

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Origin:
        """Return the origin that an answer's info or a description states; missing: empty or 0."""
        threshold = info.get("threshold_adc")
        return cls(
            engine=str(info.get("engine", ""))[:_MAX_TEXT],
            network=str(info.get("network", ""))[:_MAX_TEXT],
            weights=str(info.get("weights", ""))[:_MAX_TEXT],
            threshold_adc=threshold if isinstance(threshold, float) else 0.0,
            dtype=str(info.get("dtype", ""))[:_MAX_TEXT],
        )


@dataclass(frozen=True)
class Description:
    """A worker's description of itself, the answer to `DESCRIBE`."""

    plane: int
    divisor: int
    """Rows and columns must be multiples of this."""
    batchable: bool
    """Whether images may share a forward pass."""
    origin: Origin

    def pack(self) -> bytes:
        plain = {field.name: getattr(self, field.name) for field in fields(self)[:-1]}
        packed: bytes = msgpack.packb({**plain, **asdict(self.origin)})
        return packed

    @classmethod
    def unpack(cls, frames: list[bytes], *, plane: int) -> Description:
        """Read the description of this plane's worker; raises `DescriptionError`."""
        try:
            (packed,) = frames
            raw = msgpack.unpackb(packed)
            description = cls(raw["plane"], raw["divisor"], raw["batchable"], Origin.of(raw))
        except (ValueError, TypeError, KeyError, msgpack.UnpackException):
            raise DescriptionError(
                f"want workers of ssnetserver at {service_name(plane)}, got an answer from others"
            ) from None
        divisor = description.divisor
        if description.plane != plane or type(divisor) is not int or divisor < 1:
            raise DescriptionError(f"want plane {plane} and a divisor, got {raw!r:.200}")
        return description
