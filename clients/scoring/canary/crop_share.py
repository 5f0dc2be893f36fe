"""Which crops go to a canary. Pure.

The share counts crops, not events: events differ a lot in size, and a few large ones would decide
how much work the canary gets. The choice depends only on the crop's name, so the same crops are
chosen whoever runs, and a larger share contains every smaller one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lartpc import RSE
from mdp import SettingsError
from services.planes import service_name


@dataclass(frozen=True)
class Canary:
    """What a client sends where, and where it reports. Raises `SettingsError`."""

    label: str
    """The part of the shadow names that tells canaries apart."""
    share: float
    """The share of the crops, 0 to 1."""
    folder: Path
    """Where the client writes its report."""

    def __post_init__(self) -> None:
        if not self.label:
            raise SettingsError("want a label for a canary (--canary), got none")
        service_name(0, self.label)
        if not 0 <= self.share <= 1:
            raise SettingsError(f"want a share of crops in 0 to 1 (--share), got {self.share}")

    def service(self, plane: int) -> str:
        """Return the shadow name of a plane."""
        return service_name(plane, self.label)


def is_chosen(share: float, rse: RSE, plane: int, crop: int) -> bool:
    """Return whether a crop is in the share.

    crop: its number in its plane and event. The sha256 of `RUN SUBRUN EVENT PLANE CROP` gives a
    fraction, its first 8 bytes over 2^64, and the crop is chosen if that is below the share.
    """
    name = f"{rse.run} {rse.subrun} {rse.event} {plane} {crop}"
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return first < share * 2.0**64
