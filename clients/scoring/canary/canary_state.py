"""Whether a broker has a canary: `FILE.canary/canary.json` beside its contact file `FILE`.

    starting    its workers are started; nothing is sent yet
    running     clients send it the share
    promoted    its weights were chosen for the pool; nothing is sent any more
    dropped     it was given up; nothing is sent any more

Only the commands `ssnet canary` write the state. Clients read it, and write their reports into
`FILE.canary/reports/ID/`, which stay.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from mdp import MDPError
from mdp.system.private_files import write_whole

from .crop_share import Canary

FORMAT = "ssnet canary 1"
State = Literal["starting", "running", "promoted", "dropped"]
_MAX_BYTES = 1 << 20


class CanaryError(MDPError):
    """A canary is not as it must be for what was asked, or its file cannot be read."""


@dataclass(frozen=True)
class CanaryState:
    """A canary of a broker."""

    id: str
    state: State
    label: str
    share: float
    network: str
    """The folder of the new networks."""
    planes: tuple[int, ...]
    began_at: float
    """Unix time."""
    by: str
    """`USER on HOST`: who started it."""

    @property
    def is_over(self) -> bool:
        return self.state in ("promoted", "dropped")

    def now(self, state: State) -> CanaryState:
        return replace(self, state=state)


def canary_folder(broker: str) -> Path | None:
    """Return where the canary of a broker is recorded; None: `broker` is no @FILE."""
    if not broker.startswith("@"):
        return None
    return Path(os.path.abspath(os.path.expanduser(f"{broker[1:]}.canary")))


def state_file(folder: Path) -> Path:
    return folder / "canary.json"


def reports_folder(folder: Path, state: CanaryState) -> Path:
    return folder / "reports" / state.id


def write_state(folder: Path, state: CanaryState) -> None:
    """Record a state. Raises `MDPError`."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CanaryError(f"cannot make the folder {folder}: {error.strerror}") from None
    write_whole(
        state_file(folder), json.dumps({"format": FORMAT, **asdict(state)}, indent=1) + "\n"
    )


def read_state(folder: Path) -> CanaryState | None:
    """Return the state; None: there was never a canary. Raises `CanaryError`."""
    path = state_file(folder)
    try:
        with path.open("rb") as file:
            raw = json.loads(file.read(_MAX_BYTES))
        return _state(raw)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CanaryError(f"cannot read {path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CanaryError(
            f"want the state of a canary in {path}: {type(error).__name__}: {error}"
        ) from None


def _state(raw: dict[str, Any]) -> CanaryState:
    if raw["format"] != FORMAT:
        raise ValueError(f"want format {FORMAT!r}, got {raw['format']!r}")
    if raw["state"] not in get_args(State):
        raise ValueError(f"want a state of {get_args(State)}, got {raw['state']!r}")
    identity = str(raw["id"])
    if not identity.replace("-", "").isalnum():  # it names a folder
        raise ValueError(f"want letters, digits and dashes as id, got {identity!r}")
    return CanaryState(
        id=identity,
        state=raw["state"],
        label=str(raw["label"]),
        share=float(raw["share"]),
        network=str(raw["network"]),
        planes=tuple(int(plane) for plane in raw["planes"]),
        began_at=float(raw["began_at"]),
        by=str(raw["by"]),
    )


def running_canary(broker: str) -> Canary | None:
    """Return the canary that clients of a broker send to now; None: there is none.

    A file that cannot be read counts as none: a client must run without a canary.
    """
    folder = canary_folder(broker)
    with contextlib.suppress(MDPError, ValueError):
        state = read_state(folder) if folder else None
        if folder and state and state.state == "running":
            return Canary(state.label, state.share, reports_folder(folder, state))
    return None
