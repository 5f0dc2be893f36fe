"""What a campaign is: how each file is scored, and how its files are handled. Refuses odd values.

The settings are chosen once, by the first `ssnet campaign start`, and hold for all files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mdp import Heartbeats, SettingsError

if TYPE_CHECKING:
    from lartpc.crops import chain

    from ..scoring.job import ScoringJob

ModeName = Literal["croi", "tiles", "whole"]
TickChoice = Literal["auto", "backward", "forward"]
OnBadInput = Literal["stop", "fail"]
OutputFormat = Literal["larcv1", "larcv2", "larcv3"]

DEFAULT_NAME = "{folder}/{stem}_ssnet{suffix}"
"""The pattern of the names of outputs, if no option gives one."""
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How each file of a campaign is scored: the options of `ssnet run`, as plain values.

    Raises `SettingsError` for values out of range.
    """

    mode: ModeName = "croi"
    producer: str = "wire"
    """The producer of the images."""
    rois: str | None = None
    """The producer of the regions of interest; None: `croi`."""
    planes: tuple[int, ...] = (0, 1, 2)
    skip_others: bool = False
    """Skip images of other planes: the user named the planes."""
    size: int = 512
    """Rows and columns of crops and tiles, in pixels."""
    overlap: int = 64
    """The least overlap of neighbouring tiles, in pixels."""
    low_adc: float = 10.0
    high_adc: float = 500.0
    tick_order: TickChoice = "auto"
    trust_tick_order: bool = False
    format: OutputFormat | None = None
    """The format of the outputs; None: that of each input, if the suffixes are the same."""
    copy_input: bool = False
    mode_taken: bool = False
    """No option gave the mode: it was taken from the first file. A file of the other kind fails."""
    bad_input: OnBadInput = "fail"
    strict: bool = False
    max_failed: float = 0.1
    """The share, 0 to 1, of the events of one file that may fail."""
    part_s: float = 60.0
    """Seconds between checkpoints of an output."""
    timeout_s: float = 3600.0
    """Seconds for one try of one crop, including the wait in the broker's queue."""
    tries: int = 3
    wait_s: float | None = None
    """Seconds to wait for the first worker of a plane; None: as long as `timeout_s`."""
    heartbeat_s: float = 1.0
    liveness: int = 3
    window: int = 8
    """The most events that one reader has in flight."""
    ledger: bool = False
    """Record the times of every event beside each output."""
    repeat_inputs: bool = False
    """Score an input even if another has the same content. (A file that is given twice, by links or
    otherwise, is scored once.)"""

    def __post_init__(self) -> None:
        if not self.planes or len(set(self.planes)) != len(self.planes):
            raise SettingsError(f"want different planes (--planes), got {self.planes}")
        for name in ("size", "tries", "liveness", "window"):
            if getattr(self, name) < 1:
                raise SettingsError(f"want {name} of at least 1, got {getattr(self, name)}")
        for name in ("overlap", "low_adc", "part_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"want {name} of 0 or more, got {getattr(self, name)}")
        for name in ("timeout_s", "heartbeat_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsError(f"want {name} above 0 s, got {getattr(self, name)}")
        if not self.low_adc < self.high_adc < math.inf:
            got = f"{self.low_adc} and {self.high_adc} (--threshold, --ceiling)"
            raise SettingsError(f"want threshold < ceiling, in ADC, got {got}")
        if not 0 <= self.max_failed <= 1:
            raise SettingsError(f"want a share of failed events in 0 to 1, got {self.max_failed}")
        if self.wait_s is not None and not 0 <= self.wait_s < math.inf:
            raise SettingsError(f"want a wait of 0 s or more, got {self.wait_s}")

    @property
    def heartbeats(self) -> Heartbeats:
        return Heartbeats(self.heartbeat_s, self.liveness)

    def chain_mode(self) -> chain.Mode:
        """Return the mode as the production client takes it."""
        from lartpc.crops import chain

        match self.mode:
            case "croi":
                return chain.Croi(self.rois or "croi", self.size)
            case "tiles":
                # the divisor depends on the networks, which the services describe later
                return chain.Tiles(size=self.size, overlap=self.overlap, divisor=1)
            case "whole":
                return chain.Whole(divisor=1)

    def job(self, input: Path, output: Path, broker: str, **more: Any) -> ScoringJob:
        """Return the job that scores one file; `more` replaces fields of the job.

        With `ledger`, the ledger lies beside the output, as `OUT.ledger`.
        """
        from ..scoring.job import ScoringJob

        values: dict[str, Any] = {
            "mode": self.chain_mode(),
            "producer": self.producer,
            "mode_taken": self.mode_taken,
            "planes": tuple(sorted(self.planes)),
            "skip_others": self.skip_others,
            "low_adc": self.low_adc,
            "high_adc": self.high_adc,
            "timeout_s": self.timeout_s,
            "tries": self.tries,
            "wait_s": self.wait_s,
            "heartbeats": self.heartbeats,
            "window": self.window,
            "format": self.format,
            "copy_input": self.copy_input,
            "tick_order": self.tick_order,
            "trust_tick_order": self.trust_tick_order,
            "ledger": output.with_name(f"{output.name}.ledger") if self.ledger else None,
            "part_s": self.part_s,
            "strict": self.strict,
            "bad_input": self.bad_input,
            "max_failed": self.max_failed,
        }
        return ScoringJob(inputs=(input,), output=output, broker=broker, **(values | more))

    def as_dict(self) -> dict[str, Any]:
        """Return the options as a JSON object."""
        return {**asdict(self), "planes": list(self.planes)}

    @classmethod
    def from_dict(cls, values: object) -> ScoringOptions:
        """Parse what `as_dict` returned; absent options have their defaults.

        Raises `SettingsError` for unknown options, wrong types and values out of range.
        """
        return cls(**_checked(cls, values, what="the options of a file"))


@dataclass(frozen=True, kw_only=True)
class CampaignSettings:
    """A campaign's settings. Raises `SettingsError` for values out of range."""

    options: ScoringOptions = field(default_factory=ScoringOptions)
    name: str = DEFAULT_NAME
    """The pattern of the outputs' names, with {folder}, {stem}, {suffix}, {number}."""
    merge_to: int = 0
    """Bytes: at the end, the outputs are merged into files of at most this size; 0: not merged."""
    scratch: str = ""
    """The folder on each reader's host in which outputs are written first; empty: none."""
    file_tries: int = 2
    """How often a file that failed is tried, in all."""
    watch: str = ""
    """The folder whose new files are taken while the campaign runs; empty: none."""
    settle_s: float = 60.0
    """A new file is taken when its size and time of change have stayed the same for so long."""

    def __post_init__(self) -> None:
        if self.merge_to < 0:
            raise SettingsError(f"want files of 0 bytes or more (--merge-to), got {self.merge_to}")
        if self.file_tries < 1:
            raise SettingsError(f"want at least 1 try of a file, got {self.file_tries}")
        if not 0 <= self.settle_s < math.inf:
            raise SettingsError(f"want a settling time of 0 s or more, got {self.settle_s}")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, "options": self.options.as_dict()}

    @classmethod
    def from_dict(cls, values: object) -> CampaignSettings:
        """Parse what `as_dict` returned. Raises `SettingsError`."""
        if not isinstance(values, Mapping):
            raise SettingsError(f"want the settings of a campaign, got {str(values)[:100]!r}")
        plain = {name: value for name, value in values.items() if name != "options"}
        options = ScoringOptions.from_dict(values.get("options", {}))
        return cls(options=options, **_checked(cls, plain, what="the settings of a campaign"))


_MAY_CHANGE = frozenset(
    {
        *("strict", "max_failed", "part_s", "timeout_s", "tries", "wait_s", "heartbeat_s"),
        *("liveness", "window", "ledger", "bad_input", "mode_taken", "skip_others"),
    }
)
"""Options that change no score, so that a campaign may go on with other values."""
_OPTIONS = {"low_adc": "--threshold", "high_adc": "--ceiling"}


def differences(begun: CampaignSettings, wanted: CampaignSettings) -> list[str]:
    """Return how `wanted` differs in what must be the same for all files: `--mode: croi, ...`.

    Empty if a campaign that was begun with `begun` can go on with `wanted`.
    """
    pairs = [("name", begun.name, wanted.name)]
    for one in fields(ScoringOptions):
        if one.name not in _MAY_CHANGE:
            values = (getattr(settings.options, one.name) for settings in (begun, wanted))
            pairs.append((one.name, *values))
    different = [(_option(name), old, new) for name, old, new in pairs if old != new]
    return [f"{option}: {_shown(old)} before, {_shown(new)} now" for option, old, new in different]


def _option(name: str) -> str:
    return _OPTIONS.get(name, f"--{name.replace('_', '-')}")


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(one) for one in value)
    return "none" if value is None else str(value)


# Checks of types.


def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {one.name: hints[one.name] for one in fields(cls)}


def _checked(cls: type[Any], values: object, *, what: str) -> dict[str, Any]:
    """Return keyword arguments of a dataclass out of a JSON object. Raises `SettingsError`."""
    if not isinstance(values, Mapping):
        raise SettingsError(f"want {what} as an object, got {str(values)[:100]!r}")
    hints = _hints(cls)
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise SettingsError(f"want {what}, got one of another name: {str(name)[:100]!r}")
        fits, checked[name] = _fitted(hints[name], value)
        if not fits:
            raise SettingsError(f"want {what}, got {name} = {str(value)[:100]!r}")
    return checked


def _fitted(hint: Any, value: Any) -> tuple[bool, Any]:
    """Return whether a value has the type of a hint, and the value in exactly that type."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint), value
    if get_origin(hint) is tuple:
        fits = isinstance(value, list | tuple) and all(type(one) is int for one in value)
        return fits, tuple(value) if fits else value
    if get_origin(hint) in (Union, UnionType):  # the first is that of a Literal or None
        if value is None:
            return NoneType in get_args(hint), None
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
        return _fitted(hint, value)
    if hint is float and type(value) is int:
        return True, float(value)
    return type(value) is hint, value
