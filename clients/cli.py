"""The `ssnet` command: parse, build, run. Results to stdout, progress and logs to stderr.

Exit codes: 0 done; 1 failed; 2 misused; 3 done, but some events failed.
"""

from __future__ import annotations

from mdp.commands.command_line import new_app
from mdp.system.interrupts import interrupted_by_signals

from .commands import (
    batches,
    check,
    dashboard,
    demo,
    display,
    files,
    ledger,
    run,
    simple,
    toy,
    train,
)
from .commands.groups import (
    campaign_finish,
    campaign_views,
    campaigns,
    canaries,
    pool_views,
    pools,
    worker,
)
from .terminal.process import errors_reported, show_any_name

app = new_app("ssnet", "Score LArTPC images with SSNet: clients, workers, training, displays.")
app.command(help=demo.HELP)(demo.demo)
app.command(help=run.HELP)(run.run)
app.command(help=toy.HELP)(toy.toy)
app.command(help=files.HELP)(files.files)
app.command(help=check.HELP)(check.check)
app.command(help=ledger.HELP)(ledger.ledger)
app.command(help=dashboard.HELP)(dashboard.dashboard)
app.command(help=display.HELP)(display.display)
app.command(help=simple.HELP)(simple.simple)
app.add_typer(worker.app)
app.add_typer(pools.app)
pool_views.add_to(pools.app)
app.add_typer(campaigns.app)
campaign_finish.add_to(campaigns.app)
campaign_views.add_to(campaigns.app)
app.add_typer(canaries.app)
app.command(help=batches.HELP)(batches.batches)
app.command(help=train.HELP)(train.train)


def main() -> None:
    show_any_name()
    with errors_reported(), interrupted_by_signals():
        app()
