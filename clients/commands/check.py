"""`ssnet check`: the acceptance test of an output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError

from .option_checks import log_warnings, numbers, typed
from .options import (
    ALL_PLANES,
    FAILURES,
    LOW_ADC,
    OVERLAP,
    SIDE,
    Json,
    Modes,
    Overlap,
    Planes,
    Producer,
    Quiet,
    Rois,
    Size,
    Threshold,
    TickOrder,
    Ticks,
    TrustTickOrder,
    Verbose,
    option,
)

_HOW_SCORED = (
    *("mode", "producer", "rois", "planes", "size", "overlap", "threshold"),
    *("tick_order", "trust_tick_order"),
)

HELP = """Check that OUT is what `ssnet run` should have written for these inputs.

No network is run again. The checks are:

  - OUT has the right events, in the right order
  - its images have the right sizes and positions (metas)
  - scores are finite, and from 0 to 1
  - scores are above 0 where a crop has charge, and 0 elsewhere; this finds shifted crops
  - 95 % of the shower pixels lie on charge
  - each plane was scored by one network only

The provenance in OUT says how OUT was made. Without provenance the check fails, but events and \
scores are still checked: `--mode` and the other options then say how OUT was made. Exit code 0: \
all is right; 1: something is wrong; 2: wrong usage.

[bold]Examples[/]

  ssnet check in.root out.root
  ssnet check a.root b.root ab.root --json
  ssnet check in.root out.root --allow-failed
  ssnet check in.root old.root --mode croi --threshold 10
"""

AllowFailed = Annotated[
    bool,
    option(FAILURES, "--allow-failed", help="Accept the empty events that OUT.failed.json names."),
]


def check(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="IN... OUT", help="All inputs, in order, then the output."),
    ],
    allow_failed: AllowFailed = False,
    mode: Modes = None,
    producer: Producer = None,
    rois: Rois = None,
    planes: Planes = ALL_PLANES,
    size: Size = SIDE,
    overlap: Overlap = OVERLAP,
    threshold: Threshold = LOW_ADC,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    from ..check import acceptance as checks
    from ..check import findings
    from ..check.provenance_checks import ScoreSettings
    from ..files import choices
    from ..terminal import screen

    log_warnings(verbose=verbose, quiet=quiet)
    if len(files) < 2:
        raise SettingsError("want at least one input and the output")
    inputs = tuple(files[:-1])
    settings = None
    if any(typed(context, name) for name in _HOW_SCORED):
        chosen = choices.scored(
            inputs,
            producer=producer,
            mode=mode.value if mode else None,
            rois=rois,
            size=size,
            overlap=overlap,
        )
        wanted = tuple(sorted(numbers(planes)))
        settings = ScoreSettings(
            mode=chosen.mode,
            producer=chosen.producer,
            low_adc=threshold,
            tick_order=tick_order.value,
            trust_tick_order=trust_tick_order,
            planes=wanted,
            service_low_adc=(threshold,) * len(wanted),
            dtypes=("float16",) * len(wanted),
        )
    asked = checks.Check(
        inputs=inputs,
        output=files[-1],
        allow_failed=allow_failed,
        settings=settings,
    )
    with screen.progress("events", command="ssnet check", quiet=quiet) as show:
        results = checks.check_output(asked, on_progress=show)
    ok = not any(result.bad for result in results)
    if as_json:
        report = {"ok": ok, "checks": findings.as_json(results)}
        sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    else:
        screen.show(findings.table(results))
    sys.exit(0 if ok else 1)
