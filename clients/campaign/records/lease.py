"""The lease: which driver writes a campaign's folder. Two cannot hold it, whatever locks do.

Each driver claims a number, its epoch: it makes the file `drivers/EPOCH.json` with O_EXCL, which
the server of a file system (NFS 3 or later, too) grants to one process only. The highest epoch
holds the lease. A driver rewrites its own file only, every 2 s, with a beat that counts up. Nobody
asks for a lock, so locks that are refused, or granted to everyone, change nothing.

A new driver may claim the next epoch if the one before

- was released (the driver ended in good order); or
- ran on this machine (boot and process namespace are the same) and its process is gone; or
- has shown the same beat for 60 s of our own clock. The clocks of two hosts are never compared.

A driver that was taken for dead, because it was stopped or its network was cut, may wake up at any
instant. `holds` tells it, but the answer may be as old as its NFS client's cache (60 s), and it may
be stopped again right after it asked. What it can do after that is harmless:

- It writes the catalogue of its own epoch, which no longer counts (catalogue.py).
- It publishes by a rename out of its folder `stage`. Its successor empties that folder and removes
  it before it reads the catalogue, so the rename fails: the server no longer has the folder, even
  if the late driver's client still has it in its cache.
- It removes folders of attempts whose outputs have their names. Its successor needs none of them.

The window that stays: a driver on a host whose clock stands still, together with all its processes
(a suspended virtual machine), can complete the one request to the server that was on its way.
"""

from __future__ import annotations

import errno
import getpass
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from mdp import MDPError
from mdp.pool.local_launcher import start_ticks

from .rows import CatalogueFailed
from .snapshot import campaign_folder, sync

log = logging.getLogger(__name__)

BEAT_S = 2.0
"""How often a driver calls `renew`."""
STALE_S = 60.0
"""A driver whose beat has not changed for this long is taken for dead."""
_KEPT = 20  # claims of earlier epochs that stay, for hosts with an old listing of the folder
_NAME = re.compile(r"(\d+)\.json")
_STAGE = re.compile(r"stage-(\d+)")


class LeaseHeld(MDPError):
    """Another driver drives the campaign."""


class LeaseLost(MDPError):
    """Another driver has taken the campaign over: this one must end, and write nothing more."""


@dataclass(frozen=True)
class Place:
    """The machine and the process of a driver, so that its death can be seen from there."""

    host: str = "?"
    pid: int = 0
    start_ticks: int = 0
    machine: str = ""
    """This boot, namespace of processes and user; empty: not known, so nobody can tell."""

    @classmethod
    def here(cls) -> Place:
        pid = os.getpid()
        return cls(socket.gethostname(), pid, start_ticks(pid), _machine())

    def is_gone(self, seen_from: Place) -> bool:
        """Whether the process has ended; False if that cannot be told from `seen_from`."""
        if not self.machine or self.machine != seen_from.machine:
            return False
        return start_ticks(self.pid) != self.start_ticks


@dataclass(frozen=True, kw_only=True)
class Driver(Place):
    """What a driver last wrote of itself."""

    epoch: int
    user: str = "?"
    started_at: float = 0.0
    """Seconds since 1970, by its clock; `beat_at` likewise. 0: its file cannot be read."""
    beat: int = 0
    """Counts up with each `renew`."""
    beat_at: float = 0.0
    released: bool = False
    """It has ended, in good order."""
    alive: bool = True
    """False: released, or known to be dead. True: it may live; see `age_s`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What it passed to `renew`."""

    @property
    def age_s(self) -> float:
        """How old its last beat is, by the clocks of the two hosts."""
        return max(0.0, time.time() - self.beat_at)

    def __str__(self) -> str:
        since = time.strftime("%H:%M", time.localtime(self.started_at))
        return f"process {self.pid} on {self.host} since {since} (user {self.user})"


class Lease:
    """A driver's right to write DIR; a context manager.

    Raises `LeaseHeld` if another driver has it, `CatalogueFailed` if DIR cannot be written.
    """

    epoch: int = 0
    """Counts drivers: each has a number of its own, larger than those of all earlier ones."""

    def __init__(
        self,
        folder: Path,
        *,
        stale_s: float = STALE_S,
        on_wait: Callable[[str], object] | None = None,
        place: Place | None = None,
    ) -> None:
        """Prepare to take the lease.

        on_wait: gets a line when the lease waits to see whether another driver is alive; place: of
        this process, for tests.
        """
        self._folder = folder
        self._drivers = campaign_folder(folder) / "drivers"
        self._stale_s = stale_s
        self._on_wait = on_wait or log.warning
        self._place = place or Place.here()
        self._started_at = time.time()
        self._beat = 0
        self._extra: Mapping[str, Any] = {}
        self._writing = threading.Lock()  # `renew` may be called by two threads

    @property
    def stage(self) -> Path:
        """A folder for the last step of publishing.

        To publish, rename the output from the folder of its attempt into `stage`, and then from
        `stage` to its final name. A driver that takes over removes the folder, and finds the files
        that were in it in its own.
        """
        return campaign_folder(self._folder) / f"stage-{self.epoch}"

    def __enter__(self) -> Lease:
        try:
            self._drivers.mkdir(parents=True, exist_ok=True)
            while not self._try_to_claim():
                pass
            self._take_stages()
            self._remove_old_claims()
        except OSError as error:
            if self.epoch:
                self.check()  # a driver that took over meanwhile has removed what was looked for
            raise _failed(self._drivers, error) from error
        self.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self.stage.rmdir()  # fails if an output waits in it for the next driver
        with suppress(OSError, CatalogueFailed):
            if self.holds():
                self._write(released=True)

    # While it is held.

    def renew(self, extra: Mapping[str, Any] | None = None) -> None:
        """Write a beat, and `extra` for `driver_of`. Call it each 2 s.

        Raises `LeaseLost`, and `CatalogueFailed` if the file cannot be written.
        """
        self.check()
        try:
            self._write(extra=extra)
        except OSError as error:
            raise _failed(self._drivers, error) from error

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Renew the lease in a thread until the end of the block, which may take long.

        The thread ends at the first error, such as `LeaseLost`: the block must call `check` before
        it changes anything that others see.
        """
        over = threading.Event()

        def beat() -> None:
            with suppress(LeaseLost, CatalogueFailed):
                while not over.wait(BEAT_S):
                    self.renew()

        thread = threading.Thread(target=beat, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def holds(self) -> bool:
        """Whether no other driver has taken over. Cheap: it lists one folder."""
        try:
            return _newest(self._drivers) == self.epoch
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failed(self._drivers, error) from error

    def check(self) -> None:
        """Raise `LeaseLost` unless `holds`."""
        if self.holds():
            return
        if not self._drivers.exists():
            raise LeaseLost(f"the folder of the campaign, {self._folder}, is gone: its driver ends")
        other = driver_of(self._folder, place=self._place)
        raise LeaseLost(
            f"campaign {self._folder} was taken over by {other or 'another driver'}, since this"
            f" driver gave no sign of life for {self._stale_s:g} s: it ends here, and the other"
            " one goes on"
        )

    # Taking it.

    def _try_to_claim(self) -> bool:
        """Claim the epoch after the newest; return False if another driver was faster."""
        newest = _newest(self._drivers)
        if newest:
            self._wait_for_end_of(newest)
        self.epoch = newest + 1
        try:
            claim = self._claim_file(self.epoch).open("xb")
        except FileExistsError:
            return False
        with claim:
            claim.write(self._content())
            claim.flush()
            os.fsync(claim.fileno())
        sync(self._drivers)
        # a host with an old listing may claim an epoch that is long over
        return _newest(self._drivers) == self.epoch

    def _wait_for_end_of(self, epoch: int) -> None:
        """Return when the driver of this epoch is known to be dead. Raises `LeaseHeld`."""
        began_at = time.monotonic()
        first: Driver | None = None
        announced = False
        while True:
            self._refresh_listing()
            driver = _read(self._claim_file(epoch), epoch, self._place)
            if _newest(self._drivers) != epoch or not driver.alive:
                return
            if driver.started_at:  # else it is being written
                first = first or driver
                if (driver.started_at, driver.beat) != (first.started_at, first.beat):
                    break
            waited_s = time.monotonic() - began_at
            if waited_s >= self._stale_s:
                return
            if not announced and waited_s >= min(1.5 * BEAT_S, self._stale_s / 2):
                self._on_wait(
                    f"campaign {self._folder} was driven by {driver}, which has not ended in good"
                    f" order: waiting up to {self._stale_s:g} s for a sign of life"
                )
                announced = True
            time.sleep(min(0.25, self._stale_s / 8))
        raise LeaseHeld(
            f"campaign {self._folder} is driven by {driver}: ssnet campaign status {self._folder}"
            f" shows it, ssnet campaign cancel {self._folder} ends it"
        )

    def _refresh_listing(self) -> None:
        """Change the folder, so that an NFS client lists it anew and does not use its cache."""
        probe = self._drivers / ".look"
        probe.touch()
        probe.unlink(missing_ok=True)

    def _take_stages(self) -> None:
        """Move what earlier drivers staged into our stage, and remove their folders."""
        self.stage.mkdir(exist_ok=True)
        while earlier := [path for epoch, path in self._stages() if epoch < self.epoch]:
            for path in earlier:
                for name in os.listdir(path):
                    with suppress(FileNotFoundError):  # its driver is late, and has published it
                        os.rename(path / name, self.stage / name)
                try:
                    path.rmdir()
                except FileNotFoundError:
                    pass
                except OSError as error:  # its driver is late, and has staged another file
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
        sync(self.stage.parent)

    def _stages(self) -> list[tuple[int, Path]]:
        folder = campaign_folder(self._folder)
        matches = map(_STAGE.fullmatch, os.listdir(folder))
        return [(int(match[1]), folder / match[0]) for match in matches if match]

    def _remove_old_claims(self) -> None:
        for name in os.listdir(self._drivers):
            number = re.match(r"\.?(\d+)\.", name)
            if number and int(number[1]) < self.epoch - _KEPT:
                (self._drivers / name).unlink(missing_ok=True)

    # Its file.

    def _claim_file(self, epoch: int) -> Path:
        return self._drivers / f"{epoch}.json"

    def _content(self, *, released: bool = False) -> bytes:
        values = {
            **asdict(self._place),
            "user": _user(),
            "started_at": self._started_at,
            "beat": self._beat,
            "beat_at": time.time(),
            "released": released,
            "extra": dict(self._extra),
        }
        return json.dumps(values).encode()

    def _write(self, *, extra: Mapping[str, Any] | None = None, released: bool = False) -> None:
        """Replace the file of this driver, atomically."""
        part = self._drivers / f".{self.epoch}.part"
        with self._writing:
            self._beat += 1
            self._extra = self._extra if extra is None else extra
            with part.open("wb") as file:
                file.write(self._content(released=released))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._claim_file(self.epoch))


def driver_of(folder: Path, *, place: Place | None = None) -> Driver | None:
    """Return the newest driver of a campaign; None if there never was one.

    place: of this process, for tests. Raises `CatalogueFailed` if DIR cannot be read.
    """
    drivers = campaign_folder(folder) / "drivers"
    try:
        epoch = _newest(drivers)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CatalogueFailed(f"cannot read {drivers}: {error.strerror}") from error
    return _read(drivers / f"{epoch}.json", epoch, place or Place.here()) if epoch else None


def _read(path: Path, epoch: int, seen_from: Place) -> Driver:
    """Return what a driver wrote; without anything of it if the file is not (yet) readable."""
    try:
        driver = Driver(epoch=epoch, **json.loads(path.read_bytes()))
        known = Driver(epoch=epoch)
        if any(type(value) is not type(getattr(known, key)) for key, value in vars(driver).items()):
            return known
    except (OSError, ValueError, TypeError):
        return Driver(epoch=epoch)
    alive = not driver.released and not driver.is_gone(seen_from)
    return replace(driver, alive=alive)


def _newest(drivers: Path) -> int:
    """Return the highest epoch that was claimed; 0: none was."""
    matches = map(_NAME.fullmatch, os.listdir(drivers))
    return max((int(match[1]) for match in matches if match), default=0)


def _failed(path: Path, error: OSError) -> CatalogueFailed:
    return CatalogueFailed(f"cannot write {path}: {error.strerror or error}")


def _machine() -> str:
    """Name this boot, namespace of processes and user; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # the user, too: some systems hide the processes of others
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino} {os.getuid()}"
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
