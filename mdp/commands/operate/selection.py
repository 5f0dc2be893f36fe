"""Which workers, clients and services the words of an operator name. Pure.

A worker has three names: the short one (the column *worker* of `mdp services --by-worker`), its
process `host:pid`, which several workers may share, and its job. A client has its short name and
its process, and its key if the broker has keys. A word may be the beginning of a short name, or a
pattern with `*`; it must name one worker (or the workers of one process), or one client.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...errors import SettingsError

Row = Mapping[str, Any]

_SHOWN = 5  # names in a message
_NEAR = 0.5  # of difflib: how similar a name must be
_LEAST = 4  # characters of the beginning of a short name


class NoSuchPeer(SettingsError):
    """A word names no worker, client or service, or more than one."""

    exit_code = 1


def process_of(worker: Row) -> str:
    """Return `host:pid` of a worker; empty if it has not said so, as foreign ones."""
    facts = worker.get("facts", {})
    return f"{facts['host']}:{facts['pid']}" if {"host", "pid"} <= facts.keys() else ""


def job_of(worker: Row) -> str:
    return str(worker.get("facts", {}).get("job", ""))


def worker_text(worker: Row) -> str:
    """Describe a worker for people: `ssnet-plane2 60c5590f72eef292, n7:812, job 8812_3, busy`."""
    parts = [f"{worker['service']} {worker['address']}", process_of(worker)]
    parts.append(f"job {job_of(worker)}" if job_of(worker) else "")
    state = "idle" if worker["busy_s"] is None else "busy"
    return ", ".join(part for part in [*parts, "leaving" if worker["retired"] else state] if part)


def client_text(client: Row) -> str:
    """Describe a client for people: `5f0c590f72eef292, n7:812 taritree, key bob`."""
    key = f"key {client['key']}" if client["key"] else ""
    return ", ".join(part for part in (client["client"], client["where"], key) if part)


def workers_named(word: str, workers: Sequence[Row]) -> list[Row]:
    """Return the worker, or the workers of the process, that a word names. Raises `NoSuchPeer`."""
    found = _matching(word, workers, lambda row: [row["address"], process_of(row)])
    processes = {process_of(row) for row in found}
    if len(found) == 1 or (len(processes) == 1 and processes != {""}):
        return found
    if found:
        raise NoSuchPeer(_several(word, "workers", map(worker_text, found), "--host or --job"))
    names = [name for row in workers for name in (row["address"], process_of(row))]
    hint = "`mdp services --by-worker` lists the workers"
    raise NoSuchPeer(_none(word, "worker", names, hint))


def workers_of_host(host: str, workers: Sequence[Row]) -> list[Row]:
    """Return the workers on a host. Raises `NoSuchPeer`."""
    hosts = [str(row.get("facts", {}).get("host", "")) for row in workers]
    found = [row for row, name in zip(workers, hosts, strict=True) if name == host]
    if not found:
        raise NoSuchPeer(_none(host, "worker on host", hosts, "want the whole name"))
    return found


def workers_of_job(job: str, workers: Sequence[Row]) -> list[Row]:
    """Return the workers of a job, or of all tasks of a job array. Raises `NoSuchPeer`."""
    found = [row for row in workers if job_of(row) == job or job_of(row).startswith(f"{job}_")]
    if not found:
        names = [job_of(row) for row in workers]
        raise NoSuchPeer(_none(job, "worker of job", names, "want the whole number"))
    return found


def client_named(word: str, clients: Sequence[Row]) -> Row:
    """Return the client that a word names. Raises `NoSuchPeer`."""

    def names_of(row: Row) -> list[str]:
        return [row["client"], row["where"].partition(" ")[0], row["where"], row["key"]]

    found = _matching(word, clients, names_of)
    if len(found) == 1:
        return found[0]
    if found:
        raise NoSuchPeer(_several(word, "clients", map(client_text, found), "the short name"))
    names = [name for row in clients for name in names_of(row)]
    raise NoSuchPeer(_none(word, "client that waits", names, "`mdp services --by-client`"))


def service_named(word: str, services: Iterable[str]) -> str:
    """Return a service's name if the broker knows it. Raises `NoSuchPeer`."""
    known = list(services)
    if word not in known:
        raise NoSuchPeer(_none(word, "service", known, "`mdp services` lists the services"))
    return word


def _matching(word: str, rows: Sequence[Row], names_of: Callable[[Row], list[str]]) -> list[Row]:
    """Return the rows with exactly this name; else those whose short name begins so, or that fit a
    pattern."""
    exact = [row for row in rows if word and word in names_of(row)]
    if exact:
        return exact
    if any(char in word for char in "*?["):
        return [r for r in rows if any(fnmatch.fnmatchcase(n, word) for n in names_of(r) if n)]
    return [row for row in rows if len(word) >= _LEAST and names_of(row)[0].startswith(word)]


def _several(word: str, what: str, texts: Iterable[str], instead: str) -> str:
    shown = list(texts)
    more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    listed = "; ".join(shown[:_SHOWN])
    return f"{word!r} names {len(shown)} {what}, want one: {listed}{more}. Use {instead}"


def _none(word: str, what: str, names: Iterable[str], hint: str) -> str:
    known = sorted({name for name in names if name})
    near = difflib.get_close_matches(word, known, _SHOWN, _NEAR)
    if near:
        listed = f"near it: {', '.join(near)}"
    elif known:
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        listed = f"there are {', '.join(known[:_SHOWN])}{more}"
    else:
        listed = "there is none at all"
    return f"no {what} {word!r}; {listed} ({hint})"
