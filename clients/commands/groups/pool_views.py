"""`ssnet pool status`, `logs` and `doctor`: the reports of `mdp pool`, by plane."""

from __future__ import annotations

import sys

import typer

from mdp.commands.command_line import Every, WatchIt
from mdp.commands.pool import Name
from mdp.commands.pool_reports import (
    DOCTOR_HELP,
    LOGS_HELP,
    STATUS_HELP,
    Failed,
    Follow,
    Job,
    Lines,
    Speech,
    prepare,
    show_findings,
    show_logs,
    show_status,
)

from ..option_checks import numbers
from ..options import ALL_PLANES, Json, Planes, Quiet, Verbose


def _plane(service: str) -> str:
    """Return `2` of `ssnet-plane2`, `readers` of `ssnet-files`; other services keep their names."""
    from services.planes import service_name

    from ...campaign.file_request import SERVICE

    if service == SERVICE:
        return "readers"
    number = service.removeprefix("ssnet-plane")
    is_plane = number.isdecimal() and service_name(int(number)) == service
    return number if is_plane else service


def _label(service: str) -> str:
    short = _plane(service)
    return f"plane {short}" if short.isdecimal() else short


SSNET = Speech("ssnet", "plane", _plane, _label, "crop")


def _for_ssnet(help: str) -> str:
    return (
        help.replace("mdp pool", "ssnet pool")
        .replace(" numbers", " july")
        .replace(".services.square", '.services["ssnet-plane2"]')
        .replace("the services of a pool", "the planes of a pool")
        .replace("every service that is wanted", "every plane that is wanted")
    )


def add_to(group: typer.Typer) -> None:
    """Add the commands to `ssnet pool`."""
    group.command(help=_for_ssnet(STATUS_HELP))(status)
    group.command(help=_for_ssnet(LOGS_HELP))(logs)
    group.command(help=_for_ssnet(DOCTOR_HELP))(doctor)


def status(
    name: Name,
    watch: WatchIt = False,
    every: Every = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    prepare(verbose=verbose, quiet=quiet)
    sys.exit(show_status(name, SSNET, watch=watch, every=every, json=json, quiet=quiet))


def logs(
    context: typer.Context,
    name: Name,
    planes: Planes = ALL_PLANES,
    job: Job = None,
    failed: Failed = False,
    follow: Follow = False,
    lines: Lines = 20,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from services.planes import service_name

    prepare(verbose=verbose, quiet=quiet)
    source = context.get_parameter_source("planes")
    is_given = source is not None and source.name == "COMMANDLINE"
    services = [service_name(plane) for plane in numbers(planes)] if is_given else None
    sys.exit(show_logs(name, services, job=job, failed=failed, follow=follow, lines=lines))


def doctor(name: Name, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    prepare(verbose=verbose, quiet=quiet)
    sys.exit(show_findings(name, SSNET, json=json, quiet=quiet))
