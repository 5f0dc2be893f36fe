"""The options of `ssnet campaign`, and the settings that they become."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdp import SettingsError
from mdp.commands.command_line import Duration

from ..option_checks import check_useful, numbers, typed
from ..options import FAILURES, FILES, broker_of, option

if TYPE_CHECKING:
    from ...campaign.driving.services import Services
    from ...campaign.inputs import Given
    from ...campaign.plan import CampaignSettings, ScoringOptions

CampaignInputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, quoted patterns such as 'run7/*.root', or @LIST.txt with one of these"
        " in each line. Without them the campaign goes on with the files that it has.",
    ),
]
CampaignOutput = Annotated[
    Path,
    option(
        FILES,
        *("--output", "-o"),
        metavar="DIR",
        help="Folder of the campaign: the outputs and the catalogue.",
    ),
]
OutputNames = Annotated[
    str,
    option(
        FILES,
        "--name",
        metavar="PATTERN",
        help="Names of the outputs below DIR, made of {folder}, {stem}, {suffix} and {number}.",
    ),
]
MergeTo = Annotated[
    str | None,
    option(
        FILES,
        metavar="SIZE",
        help="Merge the outputs at the end into files of at most this size, such as 2GB, in"
        " DIR/merged. Default: do not merge.",
    ),
]
WatchFolder = Annotated[
    Path | None,
    option(
        FILES,
        *("--watch-folder", "--watch"),
        metavar="FOLDER",
        help="Take new files of this folder, too, when they have stopped growing, until"
        " `ssnet campaign cancel` or Ctrl-C. It is not remembered.",
    ),
]
Settle = Annotated[
    float,
    option(
        FILES,
        help="Time for which a new file must not have changed before it is taken: 60, 5m, ...",
        **Duration,
    ),
]
FileTries = Annotated[
    int, option(FAILURES, min=1, help="Number of times to try a file before it counts as failed.")
]

_FIELDS = {
    **{name: name for name in ("copy_input", "repeat_inputs", "tick_order", "trust_tick_order")},
    **{name: name for name in ("mode", "producer", "rois", "planes", "size", "overlap", "window")},
    **{name: name for name in ("liveness", "bad_input", "strict", "max_failed", "tries", "ledger")},
    "file_format": "format",
    "threshold": "low_adc",
    "ceiling": "high_adc",
    "wait": "wait_s",
    "heartbeat": "heartbeat_s",
    "checkpoint_seconds": "part_s",
    "timeout": "timeout_s",
}
"""The field of `ScoringOptions` that each option becomes."""
_MORE_FIELDS = {
    **{name: name for name in ("name", "merge_to", "scratch", "file_tries")},
    "watch_folder": "watch",
    "settle": "settle_s",
}
"""The same for `CampaignSettings`."""
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TRIED = 20  # inputs, until one can be read


def bytes_of(text: str | None, option: str = "--merge-to") -> int:
    """Parse a size such as 2GB or 500MB; None: 0. Raises `SettingsError`."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?) *([kmgt]?)(i?)b?", (text or "0").strip().lower())
    if match is None:
        raise SettingsError(f"want {option} as a size such as 2GB or 500MB, got {text!r}")
    number, prefix, binary = match.groups()
    unit = _SIZES[prefix] if not binary else 1 << 10 * "kmgt".find(prefix) + 10
    return int(float(number) * unit)


def new_settings(
    values: Mapping[str, Any], inputs: Sequence[Given], *, planes_named: bool
) -> CampaignSettings:
    """Return the settings of a new campaign, with what its first readable input decides.

    `planes_named`: the user typed the planes, so that others are skipped.
    """
    from lartpc.crops import chain

    from ...campaign.plan import CampaignSettings, ScoringOptions
    from ...files import choices

    fields = {field: _plain(name, values[name]) for name, field in _FIELDS.items()}
    mode, rois = fields["mode"], fields["rois"]
    fields["skip_others"] = planes_named
    fields["mode_taken"] = mode is None and rois is None
    path = _first_readable(inputs, mode=mode)
    if path is None:
        fields["rois"] = rois or ("croi" if mode == "croi" else None)
        fields["producer"] = fields["producer"] or "wire"
    else:
        chosen = choices.scored(
            [path],
            producer=fields["producer"],
            mode=mode,
            rois=rois,
            size=fields["size"],
            overlap=fields["overlap"],
        )
        if not planes_named:
            fields["planes"] = choices.planes(path, chosen.producer, fields["planes"])
        planes = fields["planes"]
        choices.check_size([path], chosen, planes=planes, entries=range(sys.maxsize))
        fields["mode"] = type(chosen.mode).__name__.lower()
        fields["rois"] = next(iter(chain.rois_of(chosen.mode)), None)
        fields["producer"] = chosen.producer
    more = {field: _plain(name, values[name]) for name, field in _MORE_FIELDS.items()}
    return CampaignSettings(options=ScoringOptions(**fields), **more)


def changed_settings(
    context: typer.Context, begun: CampaignSettings, values: Mapping[str, Any]
) -> CampaignSettings:
    """Return the settings of a campaign that goes on, with the options that were typed now.

    A folder is watched only if the option is typed again: `retry` would never end.
    """
    more = {
        field: _plain(name, values[name])
        for name, field in _MORE_FIELDS.items()
        if name in values and typed(context, name)
    }
    options = _changed_options(context, begun.options, values)
    return dataclasses.replace(begun, **{"watch": "", **more, "options": options})


def _changed_options(
    context: typer.Context, begun: ScoringOptions, values: Mapping[str, Any]
) -> ScoringOptions:
    return dataclasses.replace(
        begun,
        **{
            field: _plain(name, values[name])
            for name, field in _FIELDS.items()
            if name in values and typed(context, name)
        },
    )


def _plain(name: str, value: Any) -> Any:
    """Return the value of an option as a campaign's settings have it."""
    if name == "planes":
        return tuple(sorted(numbers(value)))
    if name == "merge_to":
        return bytes_of(value)
    if name == "watch_folder":
        return str(value.absolute()) if value else ""
    return getattr(value, "value", value)  # of an enum


def _first_readable(inputs: Sequence[Given], *, mode: str | None) -> Path | None:
    """Return the first input that can be read; None if none can, and the mode is given.

    Raises `SettingsError` if the mode cannot be chosen.
    """
    from lartpc import LArTPCError, readable_products

    trouble = "no input is there yet"
    for given in inputs[:_TRIED]:
        try:
            readable_products(given.path)
        except LArTPCError as error:
            trouble = f"the first inputs cannot be read ({error})"
        else:
            return given.path
    if mode is None:
        raise SettingsError(f"want --mode, since {trouble} to choose it from")
    return None


def services_of(
    context: typer.Context, values: Mapping[str, Any], earlier: Services | None
) -> Services:
    """Return who scores the files: as typed, else as before, else the default broker.

    Raises `SettingsError` for options that cannot be combined, and `PoolError`.
    """
    from ...campaign.driving.services import Services

    local: bool = values["local"]
    for name, shown in {"broker": "--broker", "pool_name": "--pool"}.items():
        if local and typed(context, name):
            raise SettingsError(f"{shown} cannot be combined with --local")
    is_other = any(typed(context, name) for name in ("broker", "pool_name", "local"))
    if earlier and not is_other:
        services, local = earlier, earlier.local
        if earlier.pool:
            broker_of(context, Path(earlier.pool), earlier.broker)  # it may have been stopped
    elif local:
        services = Services(local=True)
    else:
        pool = values["pool_name"]
        broker = broker_of(context, pool.absolute() if pool else None, values["broker"])
        if broker.startswith("@"):
            broker = f"@{Path(broker[1:]).absolute()}"
        services = Services(broker=broker, pool=str(pool.absolute()) if pool else "")
    if not local:
        for name in ("workers", "network", "engine", "readers"):
            check_useful(context, name, needs="--local")
        return services
    network = values["network"]
    typed_now = {
        "workers": values["workers"],
        "readers": values["readers"],
        "network": str(network.absolute()) if network else "",
        "engine": values["engine"].value,
    }
    first = earlier is None or not earlier.local
    services = dataclasses.replace(
        services,
        **{name: value for name, value in typed_now.items() if first or typed(context, name)},
    )
    if services.readers < 1:
        raise SettingsError(f"want --readers of at least 1 with --local, got {services.readers}")
    return services


def hint_of(services: Services) -> str:
    """Return what to type to start readers."""
    if services.local:
        return "the readers of --local have ended: see the messages above"
    if services.pool:
        return f"`ssnet pool scale {services.pool} readers=4` asks for some"
    return f"`ssnet worker files -n 4 --broker {services.broker}` starts some"


def plane_hints(services: Services, planes: Sequence[int]) -> dict[str, str]:
    """Return what to type to start workers of each plane's service."""
    from services.planes import service_name

    def hint(plane: int) -> str:
        if services.local:
            return "the workers of --local have ended: see the messages above"
        if services.pool:
            return f"`ssnet pool scale {services.pool} plane{plane}=4` asks for some"
        return f"`ssnet worker planes --planes {plane} --broker {services.broker}` starts one"

    return {service_name(plane): hint(plane) for plane in planes}
