"""Workers whose fingerprint is in the environment, SSNET_TEST_FINGERPRINT; they answer with it."""

from __future__ import annotations

import os

from mdp import Worker

VARIABLE = "SSNET_TEST_FINGERPRINT"


class Fingerprinted(Worker):
    def setup(self) -> None:
        self.fingerprint = os.environ[VARIABLE]

    def handle(self, frames: list[bytes]) -> list[bytes]:
        return [self.fingerprint.encode(), *frames]


class FromFile(Worker):
    """Its fingerprint is what a file says when it starts: another after the file was changed."""

    def setup(self) -> None:
        with open(os.environ[VARIABLE], encoding="utf-8") as file:
            self.fingerprint = file.read()

    def handle(self, frames: list[bytes]) -> list[bytes]:
        if frames == [b"die"]:
            os._exit(1)
        return [self.fingerprint.encode()]


class TooLong(Worker):
    fingerprint = "x" * 256

    def handle(self, frames: list[bytes]) -> list[bytes]:
        return frames
