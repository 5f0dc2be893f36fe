"""`ssnet campaign`: many files, each scored once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mdp import Heartbeats, SettingsError
from mdp.commands.command_line import new_group
from mdp.settings import DEFAULT_ENDPOINT

from ..option_checks import log_warnings, typed
from ..options import (
    ALL_PLANES,
    HIGH_ADC,
    LOW_ADC,
    OVERLAP,
    SIDE,
    BadInput,
    Broker,
    CampaignDir,
    Ceiling,
    CheckpointSeconds,
    CopyInput,
    Engine,
    EngineName,
    Force,
    Heartbeat,
    Json,
    Ledger,
    Liveness,
    Local,
    LongWait,
    MaxFailed,
    Modes,
    Network,
    OnBadInput,
    OutputFormat,
    Overlap,
    Planes,
    PoolName,
    Producer,
    Quiet,
    Readers,
    RepeatInputs,
    Rois,
    Scratch,
    Size,
    Strict,
    Threshold,
    TickOrder,
    Ticks,
    Timeout,
    Tries,
    TrustTickOrder,
    Verbose,
    Window,
    Workers,
)
from .campaign_options import (
    CampaignInputs,
    CampaignOutput,
    FileTries,
    MergeTo,
    OutputNames,
    Settle,
    WatchFolder,
    changed_settings,
    hint_of,
    new_settings,
    plane_hints,
    services_of,
)

if TYPE_CHECKING:
    from ...campaign.driving.services import Services
    from ...campaign.driving.task import Outcome, Task
    from ...campaign.inputs import Given
    from ...campaign.plan import CampaignSettings
    from ...flow.progress import Progress

HELP = """Score many files, each of them once, whatever is killed.

A campaign has a folder, DIR, with an output for each input and a catalogue of all. Readers score \
the files: production clients that run as workers of a pool, or on this machine. Bad files \
are named and do not stop the others. Everything can be killed at any time: \
`ssnet campaign start -o DIR` goes on.

[bold]Examples[/]

  ssnet campaign start 'data/*.root' -o july --pool farm
  ssnet campaign status july
  ssnet campaign retry july
  ssnet campaign check july
"""

START_HELP = """Score files into a folder, or go on with a campaign.

An INPUT is a file, a folder, a quoted pattern or @LIST.txt. Each file gets an output below DIR; \
`--name` says how it is called. The scoring options are those of `ssnet run`. They are chosen once \
and hold for all files of the campaign. The same command, or only `start -o DIR`, goes on with \
what is left; further inputs are added. Ctrl-C ends it at once, and `ssnet campaign cancel` after \
the files that are being scored.

A file that fails is named, tried again at the end, and then left to `ssnet campaign retry`. The \
campaign stops if more files fail than `--max-failed` allows, or if ten files one after the other \
fail for the same reason that is not in the files. The exit code is 3 if files or events failed.

[bold]Examples[/]

  ssnet campaign start 'data/*.root' -o july --pool farm
  ssnet campaign start @list.txt more/ -o july --broker @farm/broker.json --scratch /tmp
  ssnet campaign start run7/ -o july --local -n 2 --readers 2
  ssnet campaign start run7/ -o july --pool farm --name '{stem}_{number}{suffix}' --merge-to 2GB
  ssnet campaign start -o july
  ssnet campaign start -o july --pool farm --watch-folder incoming --settle 5m
"""

RETRY_HELP = """Score again the files of a campaign that failed, and those that changed since.

Then it goes on with all files that are left, as `ssnet campaign start -o DIR` does. The broker or \
the pool is the one of the last time, unless another one is given.

[bold]Examples[/]

  ssnet campaign retry july
  ssnet campaign retry july --pool farm --file-tries 3
  ssnet campaign retry july --timeout 7200
  ssnet campaign retry july --scratch /tmp
"""

CANCEL_HELP = """End a campaign's driver when the files that are being scored now are finished.

No further file is begun. `ssnet campaign start -o DIR` goes on with the rest. (Ctrl-C or a signal \
ends the driver at once; then the files that are being scored go on later after their checkpoints.)

[bold]Examples[/]

  ssnet campaign cancel july
"""

SOME_FAILED = 3
"""The exit code of a campaign that has no file left, but failed files or events."""
HEARTBEATS = Heartbeats()
READERS = 2

app = new_group("campaign", HELP)


@app.command(help=START_HELP)
def start(
    context: typer.Context,
    output: CampaignOutput,
    inputs: CampaignInputs = None,
    name: OutputNames = "{folder}/{stem}_ssnet{suffix}",
    merge_to: MergeTo = None,
    scratch: Scratch = "",
    watch_folder: WatchFolder = None,
    settle: Settle = 60.0,
    copy_input: CopyInput = False,
    force: Force = False,
    file_format: OutputFormat = None,
    repeat_inputs: RepeatInputs = False,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    ledger: Ledger = False,
    mode: Modes = None,
    producer: Producer = None,
    rois: Rois = None,
    planes: Planes = ALL_PLANES,
    size: Size = SIDE,
    overlap: Overlap = OVERLAP,
    threshold: Threshold = LOW_ADC,
    ceiling: Ceiling = HIGH_ADC,
    network: Network = None,
    engine: Engine = EngineName.onnx,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    local: Local = False,
    workers: Workers = 1,
    readers: Readers = READERS,
    window: Window = 8,
    wait: LongWait = None,
    heartbeat: Heartbeat = HEARTBEATS.interval_s,
    liveness: Liveness = HEARTBEATS.liveness,
    checkpoint_seconds: CheckpointSeconds = 60.0,
    bad_input: BadInput = OnBadInput.fail,
    strict: Strict = False,
    max_failed: MaxFailed = 0.1,
    file_tries: FileTries = 2,
    timeout: Timeout = 3600.0,
    tries: Tries = 3,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    values = dict(locals())  # the options by their names
    from ...campaign.driving.services import remembered
    from ...campaign.driving.task import Task
    from ...campaign.inputs import expand

    log_warnings(verbose=verbose, quiet=quiet)
    folder = _resolved(output)
    given = expand(inputs, folder=folder) if inputs else []
    begun = _begun(folder)
    services = services_of(context, values, remembered(folder))
    if begun:
        settings = changed_settings(context, begun, values)
    elif given or watch_folder:
        settings = new_settings(
            values,
            given or _watched(watch_folder, folder),
            planes_named=typed(context, "planes"),
        )
    else:
        raise SettingsError(
            f"want inputs for a new campaign, got none, and {folder} has no campaign: `ssnet"
            f" campaign start 'data/*.root' -o {output}`"
        )
    task = Task(folder, settings, given, force=force, command=tuple(sys.argv))
    _drive(task, services, settings, values)


@app.command(help=RETRY_HELP)
def retry(
    context: typer.Context,
    folder: CampaignDir,
    scratch: Scratch = "",
    network: Network = None,
    engine: Engine = EngineName.onnx,
    broker: Broker = DEFAULT_ENDPOINT,
    pool_name: PoolName = None,
    local: Local = False,
    workers: Workers = 1,
    readers: Readers = READERS,
    wait: LongWait = None,
    max_failed: MaxFailed = 0.1,
    file_tries: FileTries = 2,
    timeout: Timeout = 3600.0,
    tries: Tries = 3,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    values = dict(locals())  # the options by their names
    from ...campaign.driving.services import remembered
    from ...campaign.driving.task import Task
    from ...campaign.records.reading import reading

    log_warnings(verbose=verbose, quiet=quiet)
    path = _resolved(folder)
    with reading(path) as catalogue:
        settings = changed_settings(context, catalogue.settings, values)
    services = services_of(context, values, remembered(path))
    task = Task(path, settings, retry=True, command=tuple(sys.argv))
    _drive(task, services, settings, values)


@app.command(help=CANCEL_HELP)
def cancel(folder: CampaignDir, quiet: Quiet = False, verbose: Verbose = False) -> None:
    from ...campaign.driving.loop import cancel_marker
    from ...campaign.records.lease import driver_of
    from ...campaign.records.reading import reading
    from ...terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    path = _resolved(folder)
    with reading(path) as catalogue:
        left = catalogue.counts().left
    driver = driver_of(path)
    if driver is None or not driver.alive:
        raise SettingsError(f"no driver runs for {folder}: {left} files are left")
    cancel_marker(path).touch()
    if not quiet:
        files = driver.extra.get("in_flight", "some")
        screen.line(
            f"process {driver.pid} on {driver.host} begins no further file, and ends when the files"
            f" that are being scored are finished ({files} in flight, {left} left)"
        )


def _resolved(folder: Path) -> Path:
    resolved = folder.expanduser().resolve()
    if resolved.exists() and not resolved.is_dir():
        raise SettingsError(f"want the folder of a campaign, got a file: {folder}")
    return resolved


def _watched(watch_folder: Path | None, folder: Path) -> list[Given]:
    """Return the files that the watched folder has now."""
    from ...campaign.inputs import found

    if watch_folder is None:
        return []
    if not watch_folder.is_dir():
        raise SettingsError(f"want a folder (--watch-folder), got {watch_folder}")
    return found(str(watch_folder), folder=folder)[0]


def _begun(folder: Path) -> CampaignSettings | None:
    """Return the settings of a campaign that goes on; None: it is a new one."""
    from ...campaign.records.reading import reading
    from ...campaign.records.rows import NoCampaign

    try:
        with reading(folder) as catalogue:
            return catalogue.settings
    except NoCampaign:
        return None


def _drive(
    task: Task, services: Services, settings: CampaignSettings, values: Mapping[str, Any]
) -> None:
    """Run the driver; print what became of the campaign."""
    from dataclasses import replace

    from ...campaign.driving import driver
    from ...terminal import screen

    quiet: bool = values["quiet"]
    check_free_to_drive(task.folder)
    needs_services = services.local and _has_work(task)
    if needs_services:
        driver.check_start(task)  # before they are started
    task = replace(
        task,
        hint=hint_of(services),
        plane_hints=plane_hints(services, settings.options.planes),
        services=services,
        extra={"pool": services.pool},
    )
    with (
        screen.progress("files", command="ssnet campaign", quiet=quiet) as show,
        _services(services, settings, progress=show)
        if needs_services
        else nullcontext(services.broker or DEFAULT_ENDPOINT) as broker,
    ):
        outcome = driver.drive(task, broker, progress=show)
    if settings.merge_to:
        _merge(task.folder, settings, outcome, quiet=quiet)
    screen.close(
        _tables(task.folder, outcome), _values(outcome), quiet=quiet, json=values["as_json"]
    )
    if outcome.has_failures:
        raise typer.Exit(SOME_FAILED)
    if outcome.left:
        raise typer.Exit(1)


def _has_work(task: Task) -> bool:
    """Whether files are to be scored, as far as can be known before the lease is taken."""
    from ...campaign.records.reading import reading
    from ...campaign.records.rows import NoCampaign

    if task.retry or (task.settings and task.settings.watch):
        return True
    try:
        with reading(task.folder) as catalogue:
            have = catalogue.numbers(str(given.path) for given in task.inputs)
            return len(have) < len(task.inputs) or catalogue.counts().left > 0
    except NoCampaign:
        return True


def check_free_to_drive(folder: Path) -> None:
    """Raise `LeaseHeld` early if another driver runs: before workers are started here."""
    from ...campaign.records.lease import Lease, driver_of

    driver = driver_of(folder)
    if driver is not None and driver.alive and driver.age_s < 10:
        with Lease(folder):  # it raises the error, which names that driver
            pass


def _services(
    services: Services, settings: CampaignSettings, *, progress: Progress
) -> AbstractContextManager[str]:
    """Start a broker, workers of the planes and readers here."""
    from ...local import local_services, plane_pool, reader_pool

    planes = plane_pool.PlanePool(
        settings.options.planes,
        workers=services.workers,
        network=Path(services.network) if services.network else None,
        engine=services.engine,
        threshold_adc=settings.options.low_adc,
        max_pixels=plane_pool.ANY_SIZE,
    )
    readers = reader_pool.ReaderPool(workers=services.readers)
    return local_services.services(planes, readers=readers, progress=progress)


def _merge(folder: Path, settings: CampaignSettings, outcome: Outcome, *, quiet: bool) -> None:
    """Merge the outputs, if all files are done."""
    from ...campaign.finishing.merged_files import Merging, merge_campaign
    from ...terminal import screen

    if others := outcome.left + outcome.failed + outcome.changed:
        screen.line(
            f"--merge-to: not merged, since {others} files are not done; `ssnet campaign merge"
            " --partial` merges the others"
        )
        return
    with screen.progress("files", command="ssnet campaign merge", quiet=quiet) as show:
        merge_campaign(Merging.at_end(folder, settings), progress=show)


def _tables(folder: Path, outcome: Outcome) -> list[Any]:
    from mdp.commands.tables import duration

    from ...terminal import screen

    head = "campaign cancelled" if outcome.cancelled else "campaign"
    table = screen.table(head, screen.escaped(folder.name))
    rows = {
        "files": outcome.files,
        "done": outcome.done,
        "same content as another": outcome.repeated,
        "failed": outcome.failed,
        "changed since": outcome.changed,
        "left": outcome.left,
        "events": outcome.events,
        "failed events": outcome.failed_events,
    }
    for text, number in rows.items():
        if number or text in ("files", "done", "events"):
            table.add_row(text, str(number))
    table.add_row("in all", duration(outcome.seconds))
    return [table]


def _values(outcome: Outcome) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(outcome)
