"""`python -m benches.networks`: measure the shipped networks and compare them with others.

Tables go to stdout, progress to stderr. Exit codes: 0 done, 1 failed, 2 misused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from clients.training.accuracy import Accuracy, Counts, right
from lartpc import LArTPCError
from mdp import MDPError
from services import extras
from services.networks import PROTOTXT, weights

from .measuring import Score, measure, padded
from .toys import SMALL, WHOLE, events

app = typer.Typer(
    help="Measure how good the shipped networks are. `ssnet train` makes other networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

UNSEEN_SEED = 80_000  # detectors and events that no training has seen
_CLASSES = ("background", "shower", "track")

Directory = Annotated[Path, typer.Option("--networks", help="The folder that holds the networks.")]
Threads = Annotated[int, typer.Option(help="Threads for the computation.")]


def main() -> None:
    with _errors_reported():
        app()


@contextmanager
def _errors_reported() -> Iterator[None]:
    try:
        yield
    except (MDPError, LArTPCError, OSError) as error:
        _end(str(error), code=1)
    except ModuleNotFoundError as error:
        lacking = extras.missing(["worker", "display"]) or [error.name or ""]
        _end(f"this needs {error.name}: {extras.install(lacking)}", code=1)
    except KeyboardInterrupt:
        _end("stopped", code=130)


def _end(text: str, *, code: int) -> NoReturn:
    _say(f"networks: {text}")
    sys.exit(code)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@app.command(name="measure")
def measure_networks(
    networks: Directory = PROTOTXT.parent,
    small: Annotated[int, typer.Option(help="Events of 512 x 512 pixels.")] = 200,
    whole: Annotated[int, typer.Option(help="Events of 1008 x 3456 pixels.")] = 40,
    threads: Threads = 2,
) -> None:
    """Score toy events that no training has seen, and count the correct pixels."""
    engines = [_engine(networks, plane, threads) for plane in range(3)]
    for count, chamber in ((small, SMALL), (whole, WHOLE)):
        unseen = list(events(count, seed=UNSEEN_SEED, chamber=chamber))
        for plane, score in enumerate(engines if unseen else []):
            accuracy = measure((planes[plane] for planes in unseen), score)
            title = f"plane {plane}, {count} events of {chamber.rows} x {chamber.cols}"
            typer.echo(f"{title}: {accuracy}\n{_table(accuracy)}")


@app.command(name="compare")
def compare_networks(
    file: Annotated[Path, typer.Argument(help="A file with images and another network's scores.")],
    networks: Directory = PROTOTXT.parent,
    image: Annotated[str, typer.Option(help="The producer of the images.")] = "wire",
    scores: Annotated[
        str, typer.Option(help="The producers of the other scores; {plane} stands for 0, 1, 2.")
    ] = "ubspurn_plane{plane}",
    forward: Annotated[bool, typer.Option(help="Whether row 0 is the smallest tick.")] = True,
    picture: Annotated[Path | None, typer.Option(help="A PNG of charge and both scores.")] = None,
    threads: Threads = 2,
) -> None:
    """Score a file's first event, and compare the result with the file's scores, pixel by pixel."""
    from .real_event import draw, read

    event = read(file, image=image, scores=scores, tick_order="forward" if forward else "backward")
    ours = [event.scored(plane, _engine(networks, plane, threads)) for plane in range(3)]
    for plane in range(3):
        counts = event.agreement(plane, ours[plane])
        typer.echo(f"plane {plane}: {right(counts):.2%} of {counts.sum()} pixels agree")
        typer.echo(_lines(counts, "theirs", "ours", first=1))
    if picture:
        draw(picture, event, ours)
        _say(f"drew {picture}")


def _engine(networks: Path, plane: int, threads: int) -> Score:
    from services.engines.open_engine import open_engine

    engine = open_engine(
        "onnx", networks / PROTOTXT.name, networks / weights(plane).name, threads=threads
    )
    return padded(engine.forward, engine.network.size_divisor)


def _table(accuracy: Accuracy) -> str:
    strict = _lines(accuracy.strict, "truth", "answer")
    return f"{strict}\n{_lines(accuracy.seen, 'of two', 'answer', first=1)}\n"


def _lines(counts: Counts, rows: str, columns: str, *, first: int = 0) -> str:
    """Format a confusion matrix as Markdown, starting at the class `first`."""
    names = _CLASSES[first:]
    lines = [
        f"| {rows} \\ {columns} | {' | '.join(names)} | right |",
        "|---" * (len(names) + 2) + "|",
    ]
    for number, name in enumerate(names, start=first):
        share = counts[number, number] / max(counts[number, first:].sum(), 1)
        cells = " | ".join(f"{n:,}" for n in counts[number, first:])
        lines.append(f"| {name} | {cells} | {share:.1%} |")
    return "\n".join(lines)
