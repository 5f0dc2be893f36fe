"""The workers of a canary: a small pool beside the pool whose broker and settings it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mdp.pool import start as verbs
from mdp.pool.pool_folder import PoolError, PoolFolder
from mdp.pool.pool_settings import Kind, PoolSettings
from services.planes import MAX_PLANE, service_name

Say = Callable[[str], None]


def beside(pool: PoolFolder) -> PoolFolder:
    """Return the pool of the canary: `july-canary` beside `july`."""
    return PoolFolder(pool.path.with_name(f"{pool.name}-canary"))


def planes_of(settings: PoolSettings) -> tuple[int, ...]:
    """Return the planes that a pool serves."""
    return tuple(plane for plane in range(MAX_PLANE + 1) if service_name(plane) in settings.want)


def canary_settings(
    pool: PoolFolder, settings: PoolSettings, *, label: str, network: Path, workers: int
) -> PoolSettings:
    """Return the settings of the canary's pool: those of `pool`, with other weights and names.

    The last `--network` of a command counts, so the pool's own commands are only continued.
    Raises `PoolError` for a pool without planes.
    """
    shadows = {service_name(plane): service_name(plane, label) for plane in range(MAX_PLANE + 1)}
    kinds = []
    for kind in settings.kinds:
        counts = {shadows[name]: n for name, n in kind.workers.items() if name in shadows}
        if counts:
            more = ("--network", str(network), "--canary", label)
            kinds.append(Kind(kind.key, counts, (*kind.command, *more)))
    if not kinds:
        raise PoolError(f"{pool.name} serves no planes, so it can have no canary")
    want = {name: workers for kind in kinds for name in kind.workers}
    broker = f"@{pool.contact_file}"
    return replace(settings, kinds=tuple(kinds), want=want, adapt=None, broker=broker, publish="")


def stop(pool: PoolFolder, say: Say) -> None:
    """Stop the canary's workers; nothing happens if there are none.

    They end at once, without a drain: nobody waits for their answers.
    """
    shadow = beside(pool)
    if shadow.exists:
        verbs.stop(shadow, say, now=True)


def how_to_promote(pool: PoolFolder, settings: PoolSettings, network: str) -> list[str]:
    """Return what to type to give a pool the new weights."""
    first = "wait for its runs and campaigns: the scores of a file come from one network"
    if settings.broker in ("here", "job"):
        return [
            first,
            f"in {pool.settings_file}, add '--network', '{network}' to the end of the command of"
            " each kind of planes",
            f"ssnet pool stop {pool.path}",
            f"ssnet pool start {pool.path}",
            "the broker of this pool is its own and ends with it, so the planes are away until the"
            " new jobs run; a broker of yours avoids that (docs/cluster.md)",
        ]
    new, count = pool.path.with_name(f"{pool.name}-new"), max(settings.want.values())
    return [
        first,
        f"ssnet pool start {new} --broker {settings.broker} --launcher {settings.launcher}"
        f" -n {count} --network {network} --worker-option=--standby  (and the other options of"
        f" {pool.settings_file})",
        f'ssnet pool doctor {new}  (until it says "standing by")',
        f"ssnet pool stop {pool.path}",
    ]
