"""Rename a complete output into place, with the report of its failed events beside it.

If the process is killed between these steps, `finish_killed_run` completes them in the next run.
"""

from __future__ import annotations

from pathlib import Path

from lartpc.files.whole_file import check_free, move, named

from ...files.checksums import checksum
from ...files.failed_report import FailedReport, report_path
from .parts_folder import PartsFolder
from .state import FileId, State

RETRY = "retry"
"""The key in the run settings that marks a retry. The output that a retry replaces already has a
report, which names all failures."""


def finish_killed_run(folder: PartsFolder) -> State | None:
    """Finish a run that was killed after its output was renamed into place; clear the folder.

    Return that run's state, or None if there was no such run.
    """
    state = folder.load()
    if state is None or state.joined is None or FileId.of(folder.output) != state.joined:
        return None
    with named(folder.output):
        _settle_report(folder, state)
    folder.clear()
    return state


def publish(folder: PartsFolder, state: State, whole: Path, *, force: bool) -> None:
    """Rename the complete file `whole` to the output's name, and remove the folder.

    Raises `WriteError`, and `FileExists` without `force`.
    """
    output = folder.output
    check_free(output, force=force)
    with named(output):
        if state.failed and not state.run.get(RETRY):
            # first, so that an output with empty events never exists without a report
            _write_report(folder, state, whole)
        move(whole, output)
        _settle_report(folder, state)
    folder.remove()


def _settle_report(folder: PartsFolder, state: State) -> None:
    """Write or remove the report, so that it describes the output that is now in place."""
    if not state.failed:
        report_path(folder.output).unlink(missing_ok=True)
    else:
        _write_report(folder, state, folder.output)


def _write_report(folder: PartsFolder, state: State, file: Path) -> None:
    run = {name: value for name, value in state.run.items() if name != RETRY}
    output = checksum(file).of(folder.output)
    report = FailedReport(run, state.networks, output, tuple(state.failed))
    report.write(folder.path / "failed.json")
    move(folder.path / "failed.json", report_path(folder.output))
