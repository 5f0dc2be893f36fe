"""The core of a pool's keeper: numbers as time, no processes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdp.pool.keeper import Action, Cancel, Keeper, Note, Seen, ServiceSeen, Submit, WorkerSeen
from mdp.pool.launcher import Job, State
from mdp.pool.pool_settings import Kind, PoolSettings

KIND = Kind("work", {"echo": 1}, ("mdp", "worker", "echo", "mdp.echo:Echo"))
POOL = PoolSettings(kinds=(KIND,), want={"echo": 2})


@dataclass
class Cluster:
    """A batch system of numbers: jobs start after `wait_s`, are ready after `start_s`."""

    settings: PoolSettings = POOL
    walltime_s: float = 600.0
    wait_s: float = 5.0
    start_s: float = 4.0
    list_s: float = 10.0
    """How old a listing may be."""
    fails_on: set[str] = field(default_factory=set)
    hosts: tuple[str, ...] = ("n1", "n2", "n3")
    now: float = 1000.0
    service: ServiceSeen = field(default_factory=ServiceSeen)
    silent: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    submitted: int = 0
    cancelled: list[Cancel] = field(default_factory=list)
    _listed: list[Job] = field(default_factory=list)
    _listed_at: float = 0.0
    _arrays: int = 0
    busy: set[str] = field(default_factory=set)
    end_code: str = "COMPLETED"
    """Of a job that leaves at its walltime."""
    drains_slowly: bool = False
    """A drained job goes on with its request until the test ends it."""

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.settings, [], self.now)

    def restart_keeper(self) -> None:
        history = [{"time": self.now, "event": note.event, **note.fields} for note in self.notes]
        self.keeper = Keeper(self.settings, history, self.now)

    def run(self, duration_s: float, every_s: float = 2.0) -> None:
        end = self.now + duration_s
        while self.now < end:
            self.now += every_s
            self._live()
            self.act(self.keeper.look(self.seen(), self.now))

    def seen(self) -> Seen:
        if self.silent:
            return Seen(silent="squeue did not answer")
        if self.now - self._listed_at >= self.list_s:
            self._listed, self._listed_at = list(self.jobs.values()), self.now
        ready = self.ready()
        workers = [WorkerSeen("echo", job, is_busy=job in self.busy) for job in ready]
        return Seen(self._listed, self._listed_at, workers=workers, services={"echo": self.service})

    def ready(self) -> list[str]:
        return [
            job.id
            for job in self.jobs.values()
            if job.state == "running" and self.now >= (job.started_at or 0) + self.start_s
        ]

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Note):
                self.notes.append(action)
            elif isinstance(action, Cancel):
                self.cancelled.append(action)
                self.keeper.cancelled(action)
                for job in () if self.drains_slowly and action.how == "drain" else action.ids:
                    self.end(job, "CANCELLED" if action.how == "cancel" else "COMPLETED")
            else:
                self._submit(action)

    def _submit(self, action: Submit) -> None:
        self._arrays += 1
        self.submitted += action.count
        hosts = [host for host in self.hosts if host not in action.exclude]
        hosts = hosts or list(self.hosts)  # one host, which a pool of processes cannot exclude
        for task in range(action.count):
            name = f"{self._arrays}_{task}"
            host = hosts[task % len(hosts)]
            job = Job(name, f"p.{action.kind}", "pending", "PENDING", submitted_at=self.now)
            self.jobs[name] = replace(job, reason=host)
        self.keeper.submitted(action, str(self._arrays), self.now)

    def _live(self) -> None:
        for name, job in list(self.jobs.items()):
            if job.state == "pending" and self.now >= (job.submitted_at or 0) + self.wait_s:
                self.jobs[name] = replace(
                    job,
                    state="running",
                    code="RUNNING",
                    host=job.reason,
                    started_at=self.now,
                    ends_at=self.now + self.walltime_s,
                )
                if job.reason in self.fails_on:
                    self.end(name, "FAILED")
            elif job.state == "running":
                leaves_at = self.keeper.leaves_at(job)
                if leaves_at is not None and self.now >= leaves_at:
                    self.end(name, self.end_code)

    def end(self, name: str, code: str, state: State = "ended") -> None:
        self.jobs[name] = replace(self.jobs[name], state=state, code=code, ends_at=self.now)

    def events(self, name: str) -> list[Note]:
        return [note for note in self.notes if note.event == name]

    def living(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state != "ended"]


def test_what_is_wanted_is_submitted_once_in_one_array() -> None:
    cluster = Cluster()
    cluster.run(60)
    assert cluster.submitted == 2
    assert cluster._arrays == 1
    assert len(cluster.events("ready")) == 2


@settings(max_examples=40, deadline=None)
@given(
    walltime_s=st.sampled_from([60.0, 120.0, 600.0]),
    wait_s=st.floats(0.0, 20.0),
    start_s=st.floats(1.0, 15.0),
)
def test_there_is_never_a_gap_and_not_too_many_jobs(
    walltime_s: float, wait_s: float, start_s: float
) -> None:
    """After two lives, at least as many are ready as wanted, from at most 1.5 times the jobs."""
    cluster = Cluster(walltime_s=walltime_s, wait_s=wait_s, start_s=start_s)
    cluster.run(2 * walltime_s)
    lowest, before = 99, cluster.submitted
    lives = 0
    for _ in range(int(4 * walltime_s / 2)):
        cluster.run(2)
        lowest = min(lowest, len(cluster.ready()))
        lives += 2
    assert lowest >= 2
    job = next(job for job in cluster.jobs.values() if job.started_at is not None)
    life_s = walltime_s - 10 - 0.1 * walltime_s - wait_s - start_s - 5
    assert cluster.submitted - before <= 1.5 * 2 * (lives / max(20.0, life_s)) + 2, job


def test_a_silent_batch_system_decides_nothing_and_is_noted_once() -> None:
    cluster = Cluster()
    cluster.run(60)
    for name in list(cluster.jobs):
        cluster.end(name, "NODE_FAIL")
    cluster.silent = True
    cluster.run(120)
    assert cluster.submitted == 2
    assert len(cluster.events("silent")) == 1
    cluster.silent = False
    cluster.run(40)
    assert cluster.submitted == 4
    assert len(cluster.events("answers")) == 1


def test_a_keeper_that_is_started_again_counts_the_jobs_of_the_one_before() -> None:
    cluster = Cluster(wait_s=30.0)
    cluster.run(12)
    assert cluster.submitted == 2
    cluster.restart_keeper()
    cluster.run(60)
    assert cluster.submitted == 2


def test_three_bad_ends_pause_the_kind() -> None:
    cluster = Cluster(fails_on={"n1", "n2", "n3"})
    cluster.run(300)
    assert cluster.submitted <= 4
    assert len(cluster.events("paused")) == 1
    cluster.keeper.resume()
    cluster.fails_on = set()
    cluster.run(120)
    assert len(cluster.ready()) == 2


def test_each_kind_pauses_after_three_bad_ends_where_there_is_one_host() -> None:
    """A kind that pauses frees the host, which another kind must not blame once more."""
    kinds = tuple(Kind(key, {key: 1}, ("worker",)) for key in ("a", "b", "c"))
    three = replace(POOL, kinds=kinds, want={"a": 1, "b": 1, "c": 1})
    cluster = Cluster(settings=three, hosts=("n1",), fails_on={"n1"})
    cluster.run(300)
    ends = Counter(note.fields["kind"] for note in cluster.events("ended"))
    assert ends == {"a": 3, "b": 3, "c": 3}
    assert len(cluster.events("paused")) == 3


@pytest.mark.parametrize(("start_s", "pauses"), [(1000.0, 1), (5.0, 0)])
def test_jobs_that_need_longer_to_start_than_their_walltime_pause_the_kind(
    start_s: float, pauses: int
) -> None:
    cluster = Cluster(walltime_s=120.0, start_s=start_s, end_code="TIMEOUT")
    cluster.run(1200)
    assert len(cluster.events("paused")) == pauses


def test_preempted_jobs_are_submitted_again_for_ever() -> None:
    cluster = Cluster()
    for _ in range(6):
        cluster.run(40)
        for job in cluster.living():
            cluster.end(job.id, "PREEMPTED")
    cluster.run(60)
    assert not cluster.events("paused")
    assert len(cluster.ready()) == 2


def test_a_requeued_job_counts_as_one_that_waits() -> None:
    cluster = Cluster()
    cluster.run(60)
    name = next(iter(cluster.jobs))
    job = replace(cluster.jobs[name], state="pending", code="PENDING", host="", started_at=None)
    cluster.jobs[name] = replace(job, submitted_at=cluster.now + 100, reason="n2")
    cluster.run(60)
    assert cluster.submitted == 2
    assert len(cluster.events("requeued")) == 1


def test_a_job_that_was_requeued_and_runs_again_before_the_keeper_looks_has_two_lives() -> None:
    cluster = Cluster()
    cluster.run(60)
    name, job = next(iter(cluster.jobs.items()))
    assert job.started_at is not None
    cluster.jobs[name] = replace(job, started_at=job.started_at + 1.0)  # the same, rounded up
    cluster.run(20)
    assert not cluster.events("requeued")
    cluster.jobs[name] = replace(job, started_at=cluster.now)
    cluster.run(20)
    [requeued] = cluster.events("requeued")
    assert requeued.fields["job"] == name
    started = [note for note in cluster.events("started") if note.fields["job"] == name]
    assert len(started) == 2


def test_a_host_on_which_jobs_fail_is_excluded_while_others_work() -> None:
    cluster = Cluster(fails_on={"n1"})
    cluster.run(200)
    assert [note.fields["host"] for note in cluster.events("excluded")] == ["n1"]
    assert not cluster.events("paused")
    assert len(cluster.ready()) == 2


def test_all_jobs_on_one_bad_host_are_tried_elsewhere_before_a_pause() -> None:
    cluster = Cluster(fails_on={"n1"}, hosts=("n1", "n1", "n2"))
    cluster.run(200)
    assert [note.fields["host"] for note in cluster.events("excluded")] == ["n1"]
    assert not cluster.events("paused")
    assert len(cluster.ready()) == 2


def test_a_pause_frees_the_hosts_that_were_not_to_blame() -> None:
    cluster = Cluster(fails_on={"n1", "n2", "n3"}, hosts=("n1", "n1", "n2", "n3"))
    cluster.run(200)
    assert cluster.events("paused")
    assert cluster.keeper.excluded == {}


def test_a_submission_without_an_answer_is_not_repeated_before_a_later_listing() -> None:
    cluster = Cluster()
    cluster.now += 20
    first = [a for a in cluster.keeper.look(cluster.seen(), cluster.now) if isinstance(a, Submit)]
    assert len(first) == 1
    cluster.keeper.unanswered(first[0], cluster.now)
    cluster.run(20)
    assert cluster.submitted == 0
    cluster.run(40)
    assert cluster.submitted == 2


def test_fewer_wanted_cancels_pending_jobs_first_then_drains() -> None:
    cluster = Cluster(settings=replace(POOL, want={"echo": 4}))
    cluster.run(60)
    cluster.wait_s = 1e9
    cluster.keeper.settings = replace(POOL, want={"echo": 6})
    cluster.run(20)
    assert cluster.submitted == 6
    cluster.keeper.settings = replace(POOL, want={"echo": 3})
    cluster.run(60)
    assert [action.how for action in cluster.cancelled] == ["cancel", "drain"]
    assert [len(action.ids) for action in cluster.cancelled] == [2, 1]
    assert len(cluster.living()) == 3
    assert cluster.submitted == 6


def test_a_job_is_drained_once_however_long_its_request_takes() -> None:
    cluster = Cluster(settings=replace(POOL, want={"echo": 4}), walltime_s=36000.0)
    cluster.run(60)
    cluster.drains_slowly = True
    cluster.keeper.settings = replace(POOL, want={"echo": 2})
    cluster.run(120)
    assert [len(action.ids) for action in cluster.cancelled] == [2]
    cluster.notes.append(Note("drained", {"jobs": list(cluster.cancelled[0].ids)}))
    cluster.restart_keeper()
    cluster.keeper.settings = replace(POOL, want={"echo": 2})
    cluster.run(60)
    assert len(cluster.cancelled) == 1
    assert cluster.submitted == 4


def test_a_drained_job_does_not_count_when_more_are_wanted_again() -> None:
    cluster = Cluster(settings=replace(POOL, want={"echo": 4}), walltime_s=36000.0)
    cluster.run(60)
    cluster.drains_slowly = True
    cluster.keeper.settings = replace(POOL, want={"echo": 2})
    cluster.run(30)
    cluster.keeper.settings = replace(POOL, want={"echo": 4})
    cluster.run(30)
    assert cluster.submitted == 6
    assert len(cluster.cancelled) == 1


def test_a_clock_that_was_set_back_an_hour_stops_nothing() -> None:
    cluster = Cluster(now=5000.0, walltime_s=36000.0)
    cluster.keeper.unanswered(Submit("work", 1, (), ""), cluster.now)
    cluster.now = 1400.0
    cluster._listed_at = 0.0
    cluster.run(60)
    assert len(cluster.ready()) == 2
    cluster.keeper.settings = replace(POOL, want={"echo": 1})
    cluster.run(6)
    cluster.now -= 600.0
    cluster._listed_at -= 600.0
    cluster.run(40)
    assert len(cluster.living()) == 1


ADAPT = replace(POOL, adapt=(0, 12), want={"echo": 0}, idle_s=60.0)


def test_adapt_follows_what_is_queued_and_does_not_flap() -> None:
    cluster = Cluster(settings=ADAPT, walltime_s=3600.0)
    cluster.run(90)
    assert cluster.submitted == 0
    for _ in range(3):  # bursts of 400 s of work, and silence
        cluster.service = ServiceSeen(queued=400, serving_s=1.0)
        cluster.run(30)
        cluster.busy = set(cluster.ready())
        cluster.service = ServiceSeen(queued=100, busy=len(cluster.busy), serving_s=1.0)
        cluster.run(30)
        cluster.busy = set()
        cluster.service = ServiceSeen(idle=len(cluster.ready()), serving_s=1.0)
        cluster.run(40)
    assert 4 <= len(cluster.ready()) <= 12
    assert cluster.submitted <= 1.5 * len(cluster.ready())
    assert not cluster.cancelled
    cluster.run(200)
    assert cluster.living() == []


def test_adapt_never_drains_a_job_that_works() -> None:
    cluster = Cluster(settings=replace(ADAPT, want={"echo": 4}), walltime_s=36000.0)
    cluster.run(60)
    cluster.busy = {next(iter(cluster.jobs))}
    cluster.service = ServiceSeen(busy=1, idle=3, serving_s=0.1)
    cluster.run(400)
    assert [job.id for job in cluster.living()] == list(cluster.busy)


def test_adapt_grows_while_all_are_busy_and_requests_wait() -> None:
    """A client with few requests in flight shows little backlog, but could use more workers."""
    cluster = Cluster(settings=ADAPT, walltime_s=36000.0)
    cluster.run(70)
    for _ in range(200):
        cluster.run(2)
        ready = len(cluster.ready())
        cluster.busy = set(cluster.ready())
        queued = max(0, 8 - ready)
        cluster.service = ServiceSeen(queued=queued, busy=min(ready, 8), serving_s=0.2)
    assert 6 <= len(cluster.ready()) <= 12


def test_adapt_gives_at_most_the_clients_that_the_user_asked_for() -> None:
    kinds = (*POOL.kinds, Kind("clients", {"files": 1}, ("mdp", "worker"), calls_others=True))
    pool = replace(ADAPT, kinds=kinds, want={"echo": 2, "files": 3}, adapt=(1, 12), idle_s=60.0)
    keeper = Keeper(pool, [], 0.0)
    full = ServiceSeen(queued=500, busy=3, serving_s=60.0)
    seen = Seen(looked_at=1.0, services={"echo": full, "files": full})
    assert keeper.wanted_workers(seen, 100.0) == {"echo": 12, "files": 3}
    keeper = Keeper(pool, [], 0.0)
    assert keeper.wanted_workers(Seen(looked_at=1.0), 100.0) == {"echo": 1, "files": 1}


def test_the_broker_as_a_job_comes_first_and_has_its_successor() -> None:
    pool = replace(POOL, broker="job")
    keeper = Keeper(pool, [], 0.0)
    first = keeper.look(Seen(looked_at=1.0, has_contact=False, broker_answers=False), 1.0)
    assert [(a.kind, a.count) for a in first if isinstance(a, Submit)] == [("broker", 1)]
    keeper.submitted(first[0], "1", 1.0)  # type: ignore[arg-type]
    running = Job("1_0", "p.broker", "running", "RUNNING", host="n1", started_at=2.0, ends_at=62.0)
    seen = Seen([running], 10.0, broker_job="1_0")
    second = keeper.look(seen, 10.0)
    assert [(a.kind, a.count) for a in second if isinstance(a, Submit)] == [("work", 2)]
    keeper.submitted(next(a for a in second if isinstance(a, Submit)), "2", 10.0)
    late = keeper.look(replace(seen, looked_at=40.0), 40.0)
    assert "broker" in [a.kind for a in late if isinstance(a, Submit)]


def test_a_broker_job_with_old_keys_is_replaced_once_and_the_new_one_stays() -> None:
    keeper = Keeper(replace(POOL, broker="job", want={"echo": 0}), [], 0.0)
    old = Job("1_0", "p.broker", "running", "RUNNING", host="n1", started_at=2.0)
    seen = Seen([old], 10.0, broker_job="1_0")
    assert [a for a in keeper.look(seen, 10.0) if isinstance(a, Submit)] == []
    rotated = replace(seen, looked_at=20.0, outdated_broker="1_0")
    [submit] = [a for a in keeper.look(rotated, 20.0) if isinstance(a, Submit)]
    assert (submit.kind, submit.count) == ("broker", 1)
    keeper.submitted(submit, "2", 20.0)
    new = replace(old, id="2_0", started_at=30.0)
    for jobs, at in (([old], 22.0), ([old, replace(new, state="pending")], 30.0)):
        actions = keeper.look(replace(rotated, jobs=jobs, looked_at=at), at)
        assert [a for a in actions if isinstance(a, Submit | Cancel)] == []
    after = Seen([old, new], 40.0, broker_job="2_0")
    for number in range(40):  # the old broker still has requests
        at = 40.0 + 10 * number
        actions = keeper.look(replace(after, looked_at=at), at)
        assert [a for a in actions if isinstance(a, Submit | Cancel)] == []


@pytest.mark.parametrize("exclude", [(), ("n1",)])
def test_a_refusal_pauses_unless_hosts_were_excluded(exclude: tuple[str, ...]) -> None:
    keeper = Keeper(POOL, [], 0.0)
    for host in exclude:
        keeper.excluded[host] = "bad"
    keeper.refused(Submit("work", 1, exclude, ""), "no such nodes")
    assert bool(keeper.paused) is not bool(exclude)
    assert keeper.excluded == {}


def test_a_job_whose_workers_were_dismissed_is_replaced_and_is_no_bad_end() -> None:
    cluster = Cluster(walltime_s=36000.0)
    cluster.run(40)
    before = {job.id for job in cluster.living()}
    for _ in range(4):  # more often than bad ends would pause the kind
        [job, *_] = cluster.ready()
        cluster.end(job, "COMPLETED")  # a process whose workers have retired exits with 0
        cluster.run(40)
    assert not any(note.fields["bad"] for note in cluster.events("ended"))
    assert cluster.keeper.paused == {}
    assert cluster.keeper.excluded == {}
    assert len(cluster.living()) == len(before)


def test_adapt_keeps_its_workers_while_a_service_is_paused() -> None:
    cluster = Cluster(settings=replace(ADAPT, want={"echo": 4}), walltime_s=36000.0)
    cluster.run(60)
    count = len(cluster.ready())
    assert count == 4
    for queued in (0, 1000):  # neither fewer because they are idle, nor more for the queue
        cluster.service = ServiceSeen(queued=queued, idle=count, serving_s=1.0, paused=True)
        cluster.run(300)
        assert len(cluster.ready()) == count
    assert cluster.submitted == count
    cluster.service = ServiceSeen(idle=count, serving_s=1.0)
    cluster.run(300)
    assert cluster.living() == []
