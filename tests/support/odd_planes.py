"""Plane workers that answer wrongly, each in one way."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benches.stand_ins import StandInWorker
from lartpc import Batch, pack, unpack
from mdp import Refused
from services.planes import Description


class Of32(StandInWorker):
    """Says that it takes multiples of 32."""

    def describe(self) -> Description:
        return replace(super().describe(), divisor=32)


class _Liar(StandInWorker):
    def handle(self, frames: list[bytes]) -> list[bytes] | Iterator[list[bytes]]:
        if len(frames) == 1:
            return super().handle(frames)
        parts = list(super().handle(frames))
        [answer] = unpack(parts[0])  # type: ignore[arg-type]
        return self.lie(answer)

    def lie(self, answer: Batch) -> list[bytes]:
        raise NotImplementedError


class WrongName(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        return pack([replace(answer, name="uburn_plane1")])


class WrongMeta(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        return pack([replace(answer, meta=answer.meta[:-1] + "9)")])


class WrongShape(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        return pack([replace(answer, array=np.zeros((1, 3, 64, 64), np.float32))])


class NotFinite(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        return pack([replace(answer, array=np.full_like(answer.array, np.nan))])


class Huge(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        return pack([replace(answer, array=np.full_like(answer.array, 3e38))])


class TwoAnswers(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        return pack([answer, answer])


class NoFrames(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        return []


class TwoNetworks(_Liar):
    """Other weights for each answer."""

    def lie(self, answer: Batch) -> list[bytes]:
        return pack([replace(answer, info={**answer.info, "weights": os.urandom(8).hex()})])


class Refusing(_Liar):
    def lie(self, answer: Batch) -> list[bytes]:
        raise Refused("not today")


class Choosy(StandInWorker):
    """Scores nothing below 20 ADC."""

    def __init__(self) -> None:
        super().__init__()
        self._settings = replace(self._settings, threshold_adc=20.0)


class OtherWeights(StandInWorker):
    """Says that its network has other weights."""

    def describe(self) -> Description:
        report = super().describe()
        return replace(report, origin=replace(report.origin, weights="others"))


POISON = "SSNET_TEST_POISON"
"""A file: numbers of events, and after them how they end (`abort`, `refuse`, `raise`)."""


class Poisoned(StandInWorker):
    """Does not survive the events that a file names at the time."""

    def handle(self, frames: list[bytes]) -> list[bytes] | Iterator[list[bytes]]:
        *poison, end = Path(os.environ[POISON]).read_text().split()
        if len(frames) > 1:
            for batch in unpack(frames):
                for rse in batch.rses():
                    if str(rse.event) in poison:
                        self.end(end, f"poison: event {rse.event}")
        return super().handle(frames)

    def end(self, end: str, text: str) -> None:
        if end == "abort":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.abort()
        raise Refused(text) if end == "refuse" else LookupError(text)


class Silent(_Liar):
    """Does not say who it is, and how long it took."""

    def lie(self, answer: Batch) -> list[bytes]:
        unsaid = ("worker", "seconds", "busy_seconds")
        info = {key: value for key, value in answer.info.items() if key not in unsaid}
        return pack([replace(answer, info=info)])
