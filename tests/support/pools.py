"""What a look at a pool sees, made up for tests."""

from __future__ import annotations

from typing import Any

from mdp.pool.launcher import Job, Resources
from mdp.pool.pool_folder import KeeperNote
from mdp.pool.pool_settings import Kind, PoolSettings
from mdp.pool.status import BrokerView, Sight

NOW = 10_000.0
"""Unix time of the look."""
ALIVE = BrokerView("tcp://login2:46113", "login2", alive=True, version="1.0")
KEEPER = KeeperNote(pid=4, host="login2", start_ticks=1, beat=NOW - 1.0, every_s=2.0)


def a_job(job_id: str, kind: str = "plane0", state: str = "running", **fields: Any) -> Job:
    usual: dict[str, Any] = {"code": state.upper(), "host": "n7" if state == "running" else ""}
    if state == "running":
        usual |= {"started_at": NOW - 600.0, "ends_at": NOW + 3600.0}
    return Job(job_id, f"july.{kind}", state, **{**usual, **fields})  # type: ignore[arg-type]


def a_worker(service: str, job: str, *, busy: bool = False, **fields: Any) -> dict[str, Any]:
    facts = {"job": job, "version": "1.0", **fields.pop("facts", {})}
    return {"service": service, "busy_s": 1.0 if busy else None, "facts": facts, **fields}


def a_service(workers: int, **fields: Any) -> dict[str, Any]:
    return {"workers": workers, "retired": 0, "queued": 0, "answered": 0, **fields}


def the_settings(*services: str, per_job: int = 1, **fields: Any) -> PoolSettings:
    """Settings with a kind of jobs for each service; by default the planes 0 and 2."""
    names = services or ("plane0", "plane2")
    kinds = tuple(Kind(name, {name: per_job}, ("ssnet", "worker", name)) for name in names)
    want = dict.fromkeys(names, 2)
    resources = fields.pop("resources", Resources(time_s=600.0))
    return PoolSettings(**{"kinds": kinds, "want": want, "resources": resources, **fields})


def a_sight(**fields: Any) -> Sight:
    """A pool of two planes with two workers each, all ready."""
    jobs = [a_job("1_0"), a_job("1_1"), a_job("2_0", "plane2"), a_job("2_1", "plane2")]
    workers = [a_worker(job.kind, job.id) for job in jobs]
    usual: dict[str, Any] = {
        "name": "july",
        "folder": "/home/me/july",
        "now": NOW,
        "settings": the_settings(),
        "broker": ALIVE,
        "services": {"plane0": a_service(2), "plane2": a_service(2)},
        "workers": workers,
        "jobs": jobs,
        "jobs_seen_at": NOW - 3.0,
        "keeper": KEEPER,
        "keeper_alive": True,
    }
    return Sight(**{**usual, **fields})
