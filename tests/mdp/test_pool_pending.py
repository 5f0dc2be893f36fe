"""Why jobs are queued: the words of Slurm, and what they mean."""

from __future__ import annotations

import pytest

from mdp.pool.launcher import Resources
from mdp.pool.pending import Partition, explain

PARTITIONS = {
    "short": Partition("short", limit_s=120.0),
    "gpu": Partition("gpu", limit_s=86400.0, default=True),
    "dark": Partition("dark", usable=0),
}
TEN_MIN_IN_SHORT = Resources(time_s=600.0, partition="short")

WAITS = [
    *("None", "Priority", "Resources", "BeginTime", "Dependency", "JobArrayTaskLimit"),
    *("Licenses", "Reservation", "QOSMaxJobsPerUserLimit", "QOSMaxCpuPerUserLimit"),
    *("AssocGrpCpuLimit", "AssocMaxJobsLimit", "QOSGrpNodeLimit", "AssocGrpCPURunMinutesLimit"),
    "SomethingNew",
]


@pytest.mark.parametrize("reason", ["", *WAITS, "(Priority)", "Resources, and more"])
def test_these_need_only_time(reason: str) -> None:
    verdict = explain(reason, TEN_MIN_IN_SHORT, PARTITIONS)
    assert verdict.level == "ok"
    assert verdict.meaning
    assert not verdict.todo


@pytest.mark.parametrize(
    ("reason", "todo"),
    [
        ("PartitionTimeLimit", "--time 2m"),
        ("QOSMaxWallDurationPerJobLimit", "--time 2m"),
        ("AssocMaxWallDurationPerJobLimit", "--time 2m"),
        ("PartitionDown", "--partition"),
        ("PartitionInactive", "--partition"),
        ("PartitionNodeLimit", "--partition"),
        ("PartitionConfig", "--partition"),
        ("BadConstraints", "--gpus"),
        ("InvalidAccount", "--account"),
        ("AccountNotAllowed", "--account"),
        ("InvalidQOS", "--qos"),
        ("QOSNotAllowed", "--qos"),
        ("QOSMaxCpuPerJobLimit", "--cpus"),
        ("QOSMinGRES", "--gpus"),
        ("MaxMemPerLimit", "--mem"),
        ("AssocGrpCPUMinutesLimit", "--account"),
        ("AssocGrpBillingMinutes", "--account"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "administrators"),
        ("DependencyNeverSatisfied", "--sbatch"),
        ("JobLaunchFailure", "scontrol release"),
        ("launch failed requeued held", "scontrol release"),
        ("job requeued in held state", "scontrol release"),
        ("ReqNodeNotAvail, Reserved for maintenance", "shorter --time"),
    ],
)
def test_these_never_start(reason: str, todo: str) -> None:
    verdict = explain(reason, TEN_MIN_IN_SHORT, PARTITIONS)
    assert verdict.level == "WRONG"
    assert todo in verdict.todo


def test_a_walltime_above_the_partitions_limit_names_both() -> None:
    verdict = explain("PartitionTimeLimit", TEN_MIN_IN_SHORT, PARTITIONS)
    assert "short allows 2 min, asked 10 min" in verdict.meaning


@pytest.mark.parametrize("partitions", [{}, {"short": Partition("short")}])
def test_without_a_known_limit_it_says_what_was_asked(partitions: dict[str, Partition]) -> None:
    verdict = explain("PartitionTimeLimit", TEN_MIN_IN_SHORT, partitions)
    assert verdict.level == "WRONG"
    assert "10 min" in verdict.meaning
    assert verdict.todo == "--time"


def test_the_default_partition_counts_if_none_was_asked() -> None:
    verdict = explain("PartitionTimeLimit", Resources(time_s=2 * 86400.0), PARTITIONS)
    assert "gpu allows 24 h" in verdict.meaning


@pytest.mark.parametrize(
    ("partition", "level"), [("short", "ok"), ("dark", "WRONG"), ("unknown", "WRONG")]
)
def test_unavailable_nodes_matter_if_the_partition_has_no_others(
    partition: str, level: str
) -> None:
    reason = "ReqNodeNotAvail, UnavailableNodes:n[1-2]"
    verdict = explain(reason, Resources(partition=partition), PARTITIONS)
    assert verdict.level == level
    assert "n[1-2]" in verdict.meaning


def test_excluded_hosts_are_named_if_the_others_are_down() -> None:
    asked = Resources(partition="short", exclude=("n1",))
    verdict = explain("ReqNodeNotAvail, UnavailableNodes:n2", asked, PARTITIONS)
    assert verdict.level == "WRONG"
    assert "n1" in verdict.meaning
