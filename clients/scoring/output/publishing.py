"""Give a complete output its name, with the report of its failed events beside it.

A process may be killed between these steps; `finish_killed_run` does the rest in the next one.
"""

from __future__ import annotations

from pathlib import Path

from lartpc.files.whole_file import check_free, move, named

from ...files.checksums import stamp
from .failures import FailedReport, report_path
from .parts_folder import PartsFolder
from .state import FileId, State

RETRY = "retry"
"""The setting of a run that replaces a file whose report names all of its failures already."""


def finish_killed_run(folder: PartsFolder) -> State | None:
    """Finish a run that was killed after its output got its name; the folder is empty then.

    Returns that run's state, or None if there was no such run.
    """
    state = folder.load()
    if state is None or state.joined is None or FileId.of(folder.output) != state.joined:
        return None
    with named(folder.output):
        _settle_report(folder, state)
    folder.clear()
    return state


def publish(folder: PartsFolder, state: State, whole: Path, *, force: bool) -> None:
    """Move the complete file `whole` to the output's name, and remove the folder.

    Raises `WriteError`, and `FileExists` without `force`.
    """
    output = folder.output
    check_free(output, force=force)
    with named(output):
        if state.failed and not state.run.get(RETRY):
            # before the file: an empty event must never stand there without a report
            _write_report(folder, state, whole)
        move(whole, output)
        _settle_report(folder, state)
    folder.remove()


def _settle_report(folder: PartsFolder, state: State) -> None:
    """Make the report of failed events that of the output which has its name now."""
    if not state.failed:
        report_path(folder.output).unlink(missing_ok=True)
    else:
        _write_report(folder, state, folder.output)


def _write_report(folder: PartsFolder, state: State, file: Path) -> None:
    run = {name: value for name, value in state.run.items() if name != RETRY}
    report = FailedReport(run, state.networks, stamp(file).of(folder.output), tuple(state.failed))
    report.write(folder.path / "failed.json")
    move(folder.path / "failed.json", report_path(folder.output))
