"""What the plane services and their clients both know: names, and what a service says of itself.

Light: a client need not have what computes. Refuses descriptions that are not one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgpack

from mdp import MDPError

DESCRIBE = b"describe"
"""The one frame of a request that asks what the service is, instead of sending images."""
_MAX_TEXT = 200
_HASH = 16  # characters of a sha256: 64 bits


def who() -> dict[str, str]:
    """What an answer's info says of the process that made it."""
    host = socket.gethostname()
    return {"worker": f"{host}:{os.getpid()}", "host": host}


def service_name(plane: int) -> str:
    """Who scores this plane's images."""
    return f"ssnet-plane{plane}"


def answer_name(plane: int) -> str:
    """The name of the answers: the producer that SSNet's users know."""
    return f"uburn_plane{plane}"


class DescriptionError(MDPError, ValueError):
    """A worker does not describe itself as a plane's."""


@dataclass(frozen=True)
class Origin:
    """What decides a score, besides the image: the same for all workers of a plane."""

    engine: str
    network: str
    """The sha256 of the .prototxt ..."""
    weights: str
    """... and of the .caffemodel."""
    threshold_adc: float
    """Where the image is below, the scores are 0."""
    dtype: str = ""
    """Of the scores on the wire, which rounds them; empty in records of older software."""

    def fingerprint(self) -> str:
        """For people, too: workers of a plane must agree in it."""
        return (
            f"weights {self.weights[:_HASH] or 'none'} network {self.network[:_HASH]}"
            f" {self.engine} {self.threshold_adc:g} ADC {self.dtype}"
        )

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Origin:
        """From an answer's info or a description; what is not said is empty."""
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
    """What a worker says of itself."""

    plane: int
    divisor: int
    """Rows and columns must be multiples of this."""
    batchable: bool
    """Whether images may share a forward pass."""
    origin: Origin

    def pack(self) -> bytes:
        own = {field.name: getattr(self, field.name) for field in fields(self)[:-1]}
        packed: bytes = msgpack.packb({**own, **asdict(self.origin)})
        return packed

    @classmethod
    def unpack(cls, frames: list[bytes], *, plane: int) -> Description:
        """A plane's description; raises `DescriptionError`."""
        try:
            (packed,) = frames
            said = msgpack.unpackb(packed)
            made = cls(said["plane"], said["divisor"], said["batchable"], Origin.of(said))
        except (ValueError, TypeError, KeyError, msgpack.UnpackException):
            raise DescriptionError(
                f"want workers of ssnetserver at {service_name(plane)}, got an answer of others"
            ) from None
        if made.plane != plane or type(made.divisor) is not int or made.divisor < 1:
            raise DescriptionError(f"want plane {plane} and a divisor, got {said!r:.200}")
        return made
