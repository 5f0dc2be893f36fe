"""`ssnet campaign status`, `list` and `report`: what people see of a campaign."""

from __future__ import annotations

import enum
import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdp import SettingsError
from mdp.commands.command_line import Every, WatchIt

from ..option_checks import log_warnings
from ..options import FAILURES, FILES, CampaignDir, Force, Json, Quiet, Verbose, option

if TYPE_CHECKING:
    from ...campaign.views.observing import Look

STATUS_HELP = """Show how far a campaign is: files, events, rate, the end, and what limits it.

It shows, too, what each reader does, and the worst files and hosts. It works from any host that \
has the folder, also if nobody drives the campaign. The exit code is 0 while somebody drives it, \
and if it is complete; 3 if it is complete, but files or events failed; 1 if files wait and nobody \
drives it.

[bold]Examples[/]

  ssnet campaign status out
  ssnet campaign status out --watch
  ssnet campaign status out --json | jq '.files.failed'
"""

LIST_HELP = """List the files of a campaign, one row a file, with the reason of its state.

In a pipe, columns are separated by tabs. JSON has all that the catalogue has, one file a line.

[bold]Examples[/]

  ssnet campaign list out --failed
  ssnet campaign list out --state changed
  ssnet campaign list out --json | jq -r 'select(.host == "n7") | .path'
"""

REPORT_HELP = """Make one page of HTML about a campaign; it loads nothing from elsewhere.

It shows the rates over time, the failures by reason and by host, the worst and the slowest files, \
the failed events, a few event displays, the settings and the networks. It can be made at any \
time, also while the campaign goes on.

[bold]Examples[/]

  ssnet campaign report out
  ssnet campaign report out -o july.html
"""


class FileState(str, enum.Enum):
    """What became of a file."""

    waiting = "waiting"
    publishing = "publishing"
    done = "done"
    failed = "failed"
    repeated = "repeated"
    changed = "changed"


Failed = Annotated[bool, option(FAILURES, "--failed", help="List the files that failed.")]
State = Annotated[FileState | None, option(FAILURES, help="List the files in this state.")]
Page = Annotated[
    Path | None,
    option(FILES, "--output", "-o", help="File for the page. Default: report.html in DIR."),
]


def add_to(group: typer.Typer) -> None:
    """Add the commands to `ssnet campaign`."""
    group.command(help=STATUS_HELP)(status)
    group.command("list", help=LIST_HELP)(list_files)
    group.command(help=REPORT_HELP)(report)


def status(
    folder: CampaignDir,
    watch: WatchIt = False,
    every: Every = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ...campaign.views import status_view

    log_warnings(verbose=verbose, quiet=quiet)
    if every is not None and not watch:
        raise SettingsError("--every needs --watch")
    if quiet and (watch or json):
        raise SettingsError("--quiet can have neither --watch nor --json")
    if watch:
        status_view.watch(folder, every_s=every or 2.0, json=json)
        return
    look = status_view.look(folder)
    if json:
        typer.echo(json_text.dumps(status_view.as_json(look), indent=1))
    elif not quiet:
        status_view.show(look)
    sys.exit(_code(look))


def _code(look: Look) -> int:
    standing = look.standing
    if standing.is_complete:
        return 3 if standing.has_failures else 0
    return 0 if look.is_driven else 1


def list_files(
    folder: CampaignDir,
    failed: Failed = False,
    state: State = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ...campaign.views import file_list

    log_warnings(verbose=verbose, quiet=quiet)
    if failed and state not in (None, FileState.failed):
        raise SettingsError("--failed cannot be combined with another --state")
    wanted = FileState.failed if failed else state
    file_list.write(folder, sys.stdout, state=wanted.value if wanted else None, json=json)


def report(
    folder: CampaignDir,
    output: Page = None,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ...campaign.views.page import report_making

    log_warnings(verbose=verbose, quiet=quiet)
    path = folder / "report.html" if output is None else output
    report_making.write(folder, path, replaces=force or output is None)
    if not quiet:
        typer.echo(path)
