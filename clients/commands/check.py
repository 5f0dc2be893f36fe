"""`ssnet check`: the acceptance test of an output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mdp import SettingsError

from .options import Quiet, TickOrder, Ticks, TrustTickOrder, numbers, typed
from .run import Modes, Overlap, Planes, Producer, Roi, Size, Threshold

_MAKING = (
    *("mode", "producer", "roi", "planes", "size", "overlap", "threshold"),
    *("tick_order", "trust_tick_order"),
)

HELP = """Is OUT what `ssnet run` should have made of these inputs?

Entries, events and their order; metas; finite scores from 0 to 1; scores exactly where crops \
cover charge, so that a shifted crop or another event's pixels are found; 95 % of shower pixels \
on charge; one network a plane throughout. How OUT was made is in its provenance; of a file \
without any (which is a failure) `--mode` and the other options say it. Nothing is computed anew. \
Exit code 0: all is well, 1: something is not, 2: misuse.

[bold]Examples[/]

  ssnet check in.root out.root
  ssnet check a.root b.root ab.root --json
  ssnet check in.root out.root --allow-failed
  ssnet check in.root old.root --mode croi --threshold 10
"""


def check(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="IN... OUT", help="All inputs, in order; the output.")
    ],
    allow_failed: Annotated[
        bool,
        typer.Option("--allow-failed", help="Events listed in OUT.failed.json are no failure."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    mode: Modes = None,
    producer: Producer = None,
    roi: Roi = None,
    planes: Planes = "0,1,2",
    size: Size = 512,
    overlap: Overlap = 64,
    threshold: Threshold = 10.0,
    tick_order: TickOrder = Ticks.auto,
    trust_tick_order: TrustTickOrder = False,
    quiet: Quiet = False,
) -> None:
    from ..check import acceptance as checks
    from ..check import findings
    from ..check.provenance_checks import ScoreSettings
    from ..files import choices
    from ..scoring.job import PLANES
    from ..terminal import screen

    if len(files) < 2:
        raise SettingsError("want at least one input and the output")
    inputs = tuple(files[:-1])
    making = None
    if any(typed(context, name) for name in _MAKING):
        chosen = choices.scored(
            inputs,
            producer=producer,
            mode=mode.value if mode else None,
            rois=roi,
            size=size,
            overlap=overlap,
        )
        making = ScoreSettings(
            mode=chosen.mode,
            producer=chosen.producer,
            low_adc=threshold,
            tick_order=tick_order.value,
            trust_tick_order=trust_tick_order,
            planes=tuple(sorted(numbers(planes))),
            service_low_adc=(threshold,) * len(PLANES),
        )
    asked = checks.Check(
        inputs=inputs,
        output=files[-1],
        allow_failed=allow_failed,
        settings=making,
    )
    with screen.progress("events", command="ssnet check", quiet=quiet) as show:
        found = checks.run(asked, on_progress=show)
    ok = not any(each.bad for each in found)
    if as_json:
        report = {"ok": ok, "checks": findings.as_json(found)}
        sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    else:
        screen.show(findings.table(found))
    sys.exit(0 if ok else 1)
