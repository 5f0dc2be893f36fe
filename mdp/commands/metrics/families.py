"""A report of `mmi.metrics` as metrics of Prometheus: their names, units and labels.

Names and units follow https://prometheus.io/docs/practices/naming/: base units, `_total` for
counts since the start of the broker. docs/operations.md explains the most important ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ...broker.state import ERROR_CODES, OTHER
from .looking import Report, Seen

OTHERS = "(others)"
"""The label of the workers and clients that the broker does not name, summed."""

_CODES = (*map(str, ERROR_CODES), OTHER)

_COUNTERS = {
    "accepted": ("requests_accepted", "Requests of clients, also those that were refused."),
    "answered": ("requests_answered", "Answers of workers that were sent to clients."),
    "refused": ("requests_refused", "Requests that the broker answered with an error."),
    "cancelled": ("requests_cancelled", "Requests that their clients gave up."),
    "undelivered": ("answers_undelivered", "Answers whose client was gone or did not read."),
    "requeued": ("requests_requeued", "Requests that a worker lost, and that were queued again."),
    "partials": ("answer_parts", "Parts of answers that were sent before the last part."),
    "dead_tokens": ("late_answers", "Answers that were dropped: the request was not the worker's."),
    "malformed": ("malformed_messages", "Messages that were dropped: not valid in any dialect."),
    "unexpected": ("unexpected_messages", "Valid messages at the wrong time."),
    "unreachable": ("unreachable_messages", "Messages dropped: the peer was gone or did not read."),
    "clients_lost": ("clients_lost", "Clients that fell silent while they waited."),
    "workers_lost": ("workers_lost", "Workers that went away by themselves or broke the protocol."),
    "workers_died": ("workers_died", "Workers whose process died while it held a request."),
    "forbidden": ("forbidden_commands", "Commands that the sender's key does not allow."),
    "handshakes_failed": ("handshakes_failed", "Connections that showed no known key."),
    "hung_up": ("connections_hung_up", "Connections that ended before they showed a key."),
}
"""Fields of `state.Counters`."""

_PROCESS_COUNTERS = {
    "sent_bytes": ("sent_bytes", "Bytes of all messages that the broker sent."),
    "cpu_s": ("cpu_seconds", "CPU time of the broker's process."),
    "loop_cpu_s": ("loop_cpu_seconds", "CPU time of the broker's loop: one core is its limit."),
    "stopped_s": ("stopped_seconds", "Time for which the broker was stopped or had no CPU."),
}
_PROCESS_GAUGES = {
    "lag_s": ("loop_lag_seconds", "How late the loop was at most in the last 30 to 60 s."),
    "resident_bytes": ("resident_memory_bytes", "Memory of the broker's process."),
    "open_files": ("open_files", "Open files of the broker's process; each peer takes one."),
    "max_open_files": ("max_open_files", "Limit of open files of the broker's process."),
}


class Families(Collector):
    """The metrics of one look; `needed`: by service, whether it has a worker."""

    def __init__(self, seen: Seen, needed: Mapping[str, bool]) -> None:
        self._seen = seen
        self._needed = needed

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; only `mdp_broker_up` if the broker does not answer."""
        report = self._seen.report
        text = "Whether the broker answers: 1, or 0 and then no other metric is there."
        yield GaugeMetricFamily("mdp_broker_up", text, 0 if report is None else 1)
        if report is None:
            return
        text = "Seconds that the broker took to answer the question for these metrics."
        yield GaugeMetricFamily("mdp_broker_answer_seconds", text, self._seen.took_s)
        yield from _broker(report)
        yield from _services(report["services"], report["bounds_s"])
        yield _single(
            "mdp_services_unnamed", "Services that are left out.", report["services_left_out"]
        )
        ready = _gauge("mdp_service_ready", "Whether a needed service has a worker.", "service")
        for service, is_served in self._needed.items():
            ready.add_metric([service], is_served)
        yield ready
        if "workers" in report:
            yield from _workers(report)
            yield from _clients(report)


def _broker(report: Report) -> Iterator[Metric]:
    info = _gauge("mdp_broker_info", "The broker.", "version", "host", "instance")
    info.add_metric([report["version"], report["host"], report["instance"]], 1)
    yield info
    text = "When the broker started, in Unix time."
    yield _single("mdp_broker_start_time_seconds", text, report["started_at"])
    text = "Whether the broker is about to stop, and accepts no requests."
    yield _single("mdp_broker_draining", text, report["draining"])
    text = "Bytes of all requests, queued and at workers."
    yield _single("mdp_broker_request_bytes", text, report["bytes"])
    text = "Limit of mdp_broker_request_bytes (--max-bytes)."
    yield _single("mdp_broker_max_request_bytes", text, report["max_bytes"])
    text = "Bytes of the requests and answers that the broker received, without envelopes."
    yield CounterMetricFamily("mdp_broker_received_bytes", text, report["received_bytes"])
    for kind, table, values in (
        (CounterMetricFamily, _COUNTERS, report["counters"]),
        (CounterMetricFamily, _PROCESS_COUNTERS, report["process"]),
        (GaugeMetricFamily, _PROCESS_GAUGES, report["process"]),
    ):
        for field, (name, text) in table.items():
            if field in values:
                yield kind(f"mdp_broker_{name}", text, values[field])


def _services(services: Mapping[str, Any], bounds_s: list[float]) -> Iterator[Metric]:
    workers = _gauge("mdp_service_workers", "Workers by what they do.", "service", "state")
    queued = _gauge("mdp_service_queued_requests", "Requests in the queue.", "service")
    size = _gauge(
        "mdp_service_request_bytes", "Bytes of requests, queued and at workers.", "service"
    )
    oldest = _gauge(
        "mdp_service_oldest_queued_seconds",
        "Time since the oldest request of the queue was accepted; 0: the queue is empty.",
        "service",
    )
    answered = _counter("mdp_service_answered", "Answers of workers, errors too.", "service")
    requeued = _counter("mdp_service_requeued", "Requests that a worker lost.", "service")
    failed = _counter(
        "mdp_service_failed", "Errors that clients got from workers or broker.", "service", "code"
    )
    waiting = _histogram(
        "mdp_service_waiting_seconds", "Time in the queue until a worker got the request."
    )
    serving = _histogram(
        "mdp_service_serving_seconds", "Time for which a worker held a request that it answered."
    )
    for name, row in services.items():
        for state in ("idle", "busy", "retired"):
            workers.add_metric([name, state], row[state])
        queued.add_metric([name], row["queued"])
        size.add_metric([name], row["bytes"])
        oldest.add_metric([name], row["oldest_s"])
        answered.add_metric([name], row["answered"])
        requeued.add_metric([name], row["requeued"])
        for code in _CODES:  # also those that are 0: a rate needs the value before the first one
            failed.add_metric([name, code], row["failed"].get(code, 0))
        for family, key in ((waiting, "waiting"), (serving, "serving")):
            buckets = [*map(str, bounds_s), "+Inf"]
            counts = zip(buckets, row[key]["up_to"], strict=True)
            family.add_metric([name], list(counts), row[key]["sum_s"])
    yield from (workers, queued, size, oldest, answered, requeued, failed, waiting, serving)


def _workers(report: Report) -> Iterator[Metric]:
    labels = ("service", "worker", "host", "job", "device")
    answered = _counter("mdp_worker_answered", "Requests that the worker answered.", *labels)
    p95 = _gauge(
        "mdp_worker_serving_p95_seconds", "95 % of its answers took at most this time.", *labels
    )
    busy = _gauge(
        "mdp_worker_request_age_seconds", "For how long it holds its request; 0: none.", *labels
    )
    restarts = _gauge(
        "mdp_worker_child_restarts", "How often its process has died and was restarted.", *labels
    )
    for row in report["workers"]:
        values = [row[label] for label in labels]
        answered.add_metric(values, row["answered"])
        p95.add_metric(values, row["p95_s"])
        busy.add_metric(values, row["busy_s"])
        restarts.add_metric(values, row["restarts"])
    for service, row in report["services"].items():
        if row["rest"]["answered"]:
            values = [service, OTHERS, "", "", ""]
            answered.add_metric(values, row["rest"]["answered"])
            p95.add_metric(values, row["rest"]["p95_s"])
    yield from (answered, p95, busy, restarts)
    text = f"Workers that are summed as {OTHERS}."
    yield _single("mdp_workers_unnamed", text, report["workers_left_out"])


def _clients(report: Report) -> Iterator[Metric]:
    labels = ("client", "key")
    in_flight = _gauge(
        "mdp_client_in_flight_requests", "Requests of the client that workers hold.", *labels
    )
    waiting = _gauge(
        "mdp_client_waiting_requests", "Requests of the client in the queues.", *labels
    )
    rest = report["clients_left_out"]
    rows = report["clients"]
    if rest["count"]:
        rows = [*rows, {"client": OTHERS, "key": "", **rest}]
    for row in rows:
        in_flight.add_metric([row["client"], row["key"]], row["in_flight"])
        waiting.add_metric([row["client"], row["key"]], row["waiting"])
    yield from (in_flight, waiting)
    yield _single("mdp_clients_unnamed", f"Clients that are summed as {OTHERS}.", rest["count"])


def _single(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, labels=["service"])
