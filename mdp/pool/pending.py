"""Why a job of a pool is queued, and what to do about it: the reasons that Slurm gives. Pure.

Each reason is one word of Slurm's (`squeue --Format Reason`), sometimes with details after a comma.
Most of them need only time; a job with one of the others never starts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..settings import short_text
from .launcher import Resources

Level = Literal["ok", "WRONG"]


class Verdict(NamedTuple):
    """What a reason means."""

    level: Level
    meaning: str
    todo: str = ""
    """What to do: an option with its value where that is known."""


@dataclass(frozen=True)
class Partition:
    """A partition of the cluster, as `sinfo` reports it."""

    name: str
    limit_s: float = math.inf
    """The longest walltime of a job."""
    up: bool = True
    usable: int = 1
    """Nodes that can run jobs: not down, and not drained."""
    default: bool = False


Explain = Callable[[Resources, "Partition | None", str], Verdict]


def explain(reason: str, asked: Resources, partitions: Mapping[str, Partition]) -> Verdict:
    """Return what a reason means for a job that asked for these resources.

    partitions: what is known of the cluster's; it may be empty.
    """
    word = re.split(r"[,(\s]", reason.strip("() "), maxsplit=1)[0]
    partition = _partition(asked, partitions)
    for pattern, verdict in _REASONS:
        if re.fullmatch(pattern, word):
            return verdict if isinstance(verdict, Verdict) else verdict(asked, partition, reason)
    return Verdict("ok", "waits; see `man squeue`, JOB REASON CODES" if word else "was just queued")


def _partition(asked: Resources, partitions: Mapping[str, Partition]) -> Partition | None:
    if asked.partition:
        return partitions.get(asked.partition)
    return next((partition for partition in partitions.values() if partition.default), None)


def _too_long(asked: Resources, partition: Partition | None, reason: str) -> Verdict:
    wanted = f", asked {short_text(asked.time_s)}" if asked.time_s else ""
    if partition is None or not math.isfinite(partition.limit_s):
        return Verdict("WRONG", f"the walltime is above a limit of the site{wanted}", "--time")
    name, limit = partition.name, short_text(partition.limit_s)
    if asked.time_s > partition.limit_s:
        meaning = f"partition {name} allows {limit}{wanted}"
        return Verdict("WRONG", meaning, f"--time {_minutes(partition.limit_s)}")
    return Verdict("WRONG", f"above a limit of partition {name}{wanted}", "--time or --partition")


def _minutes(limit_s: float) -> str:
    """Format a walltime for `--time`: `2m`."""
    return f"{int(limit_s // 60)}m"


def _down(asked: Resources, partition: Partition | None, reason: str) -> Verdict:
    name = f"partition {partition.name}" if partition else "the partition"
    return Verdict("WRONG", f"{name} starts no jobs now", "--partition: another one, or wait")


def _no_node(asked: Resources, partition: Partition | None, reason: str) -> Verdict:
    if "maint" in reason.lower():
        meaning = "the walltime would reach into a maintenance of the nodes"
        return Verdict("WRONG", meaning, "a shorter --time lets it start before")
    if asked.exclude and "UnavailableNodes" in reason:
        meaning = f"its nodes are down or drained, and {', '.join(asked.exclude)} is excluded"
        return Verdict("WRONG", meaning, "exclude in pool.toml, or --partition: another one")
    nodes = re.search(r"UnavailableNodes:(\S+)", reason)
    meaning = f"nodes are down, drained or reserved{f' ({nodes[1]})' if nodes else ''}"
    if partition is not None and partition.usable:
        return Verdict("ok", f"{meaning}; partition {partition.name} has others, so it waits")
    return Verdict("WRONG", meaning, "--partition: another one, or wait")


def _waits(meaning: str) -> Verdict:
    return Verdict("ok", meaning)


_HELD = "scontrol release JOB lets it start"
_REASONS: tuple[tuple[str, Verdict | Explain], ...] = (
    ("None|just", _waits("was just queued")),
    ("Priority", _waits("jobs of a higher priority go first")),
    ("Resources", _waits("is the next to start when nodes are free")),
    ("BeginTime", _waits("may not start yet: Slurm holds a requeued job for 2 min")),
    ("Dependency", _waits("waits for another job to end")),
    ("JobArrayTaskLimit", _waits("waits until fewer jobs of its array run")),
    ("Licenses|Cleaning|Prolog|SchedDefer|Reservation|BurstBuffer.*", _waits("waits")),
    ("PartitionTimeLimit|.*MaxWall.*|QOSTimeLimit|AssociationTimeLimit", _too_long),
    ("PartitionDown|PartitionInactive|FrontEndDown", _down),
    ("ReqNodeNotAvail|NodeDown", _no_node),
    (
        "PartitionNodeLimit|PartitionConfig",
        Verdict("WRONG", "the partition has no such nodes", "--partition, --cpus, --gpus or --mem"),
    ),
    (
        "BadConstraints",
        Verdict("WRONG", "no node has what it asks for", "--gpus, --cpus, --mem or --sbatch"),
    ),
    (
        "InvalidAccount|AccountNotAllowed|AssociationNotFound",
        Verdict("WRONG", "this account may not run jobs here", "--account"),
    ),
    ("InvalidQOS|QOSNotAllowed", Verdict("WRONG", "this QOS is not allowed here", "--qos")),
    (
        r"(QOS|Assoc).*(PerJob|PerNode|Min(Cpu|GRES|Memory|TRES)).*|MaxMemPerLimit",
        Verdict("WRONG", "one job asks for more than is allowed", "--cpus, --gpus, --mem or --qos"),
    ),
    (
        r"(QOS|Assoc).*(?<!Run)Minutes.*|QOSUsageThreshold",
        Verdict("WRONG", "the account's computing time is used up", "--account or --qos"),
    ),
    (
        "(QOS|Assoc).*",
        _waits("a limit on all your jobs, or on your group's, is reached: it waits until some end"),
    ),
    ("JobHeldUser", Verdict("WRONG", "the job was held", _HELD)),
    ("JobHeldAdmin", Verdict("WRONG", "an administrator held the job", "ask the administrators")),
    (
        "DependencyNeverSatisfied",
        Verdict("WRONG", "the job that it waits for failed", "--sbatch: without this dependency"),
    ),
    (
        "JobLaunchFailure|launch|job|SystemFailure|NonZeroExitCode",
        Verdict("WRONG", "its start failed, and Slurm holds it", _HELD),
    ),
    ("DeadLine|TimeLimit", Verdict("WRONG", "it can no longer end in time", "--time")),
)
