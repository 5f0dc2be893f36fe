"""When workers wait, and when they end by themselves: options that all commands of workers have."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from ..errors import SettingsError
from ..settings import WorkerLife
from .command_line import FAILURES, SERVED, Duration, end_time, option, option_of


def until_of(text: str) -> float | None:
    """Parse --until of workers: a Unix time; infinite for none; None for auto, the job's end."""
    if text in ("auto", "none"):
        return None if text == "auto" else math.inf
    try:
        return end_time(text)
    except SettingsError:
        want = "want --until auto, none, a duration such as 4:00:00, or a time"
        raise SettingsError(f"{want} such as 2026-11-28T18:00, got {text!r}") from None


def _checked_until(value: str) -> str:
    until_of(value)
    return value


def _above_0(context: typer.Context, parameter: typer.CallbackParam, value: float) -> float:
    if not value > 0:
        raise SettingsError(f"want {option_of(context, parameter)} above 0, got {value:g}")
    return value


_Until = Annotated[
    str,
    option(
        SERVED,
        "--until",
        callback=_checked_until,
        metavar="auto|none|TIME",
        show_default=False,
        help="When to have ended: auto (the end of the batch job), a duration from now such as"
        " 4:00:00, or a time such as 2026-11-28T18:00. Default: auto; none is no end. A worker"
        " leaves early enough to begin no request that it cannot end.",
    ),
]
_Idle = Annotated[
    float,
    option(
        SERVED,
        "--idle",
        callback=_above_0,
        show_default=False,
        help="A worker leaves when no request has come for this time, such as 10m. Default: never.",
        **Duration,
    ),
]
_BrokerWait = Annotated[
    float,
    option(
        FAILURES,
        "--broker-wait",
        callback=_above_0,
        show_default="5m",
        help="End with an error when no broker has answered for this time.",
        **Duration,
    ),
]
_Standby = Annotated[
    bool,
    option(
        SERVED,
        "--standby",
        help="If workers with another fingerprint serve the name, wait until they have left,"
        " instead of ending with an error.",
    ),
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "until": (_Until, "auto"),
    "idle": (_Idle, math.inf),
    "broker_wait": (_BrokerWait, 300.0),
    "standby": (_Standby, False),
}


def with_worker_life(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `WorkerLife`; it gets them as its parameter `life`."""

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        life = WorkerLife(
            until=until_of(values.pop("until")),
            idle_s=values.pop("idle"),
            broker_wait_s=values.pop("broker_wait"),
            standby=values.pop("standby"),
        )
        command(**values, life=life)

    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        name = parameter.name
        shown = _OPTIONS if name == "life" else {name: (hints[name], parameter.default)}
        for option_name, (hint, default) in shown.items():
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(
                inspect.Parameter(option_name, kind, default=default, annotation=hint)
            )
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options
