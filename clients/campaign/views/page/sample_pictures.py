"""Event displays for a campaign's page: the first, a middle and the worst output, made small.

A display that cannot be drawn is replaced by the reason: the page is made in any case.
"""

from __future__ import annotations

import base64
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lartpc import LArTPCError

from ...records.queries import ReadCatalogue
from .report_contents import Picture

log = logging.getLogger(__name__)

_WIDE = 1100  # pixels of a picture
_COLOURS = 128
_CHOSEN = "select number, path, output, entries from files where state = 'done'"


def pictures(catalogue: ReadCatalogue, folder: Path) -> list[Picture]:
    """Return the displays; none before the first file is done."""
    producer = catalogue.settings.options.producer
    return [
        _drawn(title, Path(path), folder / output, _entry(catalogue, number), producer)
        for title, (number, path, output, _) in _choice(catalogue)
    ]


def _choice(catalogue: ReadCatalogue) -> Iterator[tuple[str, tuple[int, str, str, int]]]:
    """Choose files, each once: the first, the one in the middle, and the one that lost most."""
    ((done,),) = catalogue.rows("select count(*) from files where state = 'done'")
    wanted = (
        (
            "The worst output (largest share of failed events)",
            " and failed_events > 0 and entries > failed_events"
            " order by 1.0 * failed_events / entries desc, failed_events desc limit 1",
        ),
        ("The first output", " and entries > 0 order by number limit 1"),
        ("An output in the middle", f" and entries > 0 order by number limit 1 offset {done // 2}"),
        (
            "The slowest output",
            " and events > 0 order by seconds / events desc limit 1",
        ),
    )
    shown: set[int] = set()
    chosen = []
    for title, condition in wanted:
        for number, path, output, entries in catalogue.rows(_CHOSEN + condition):
            if number not in shown and len(shown) < 3:
                shown.add(number)
                chosen.append((title, (number, path, output, entries)))
    yield from sorted(chosen, key=lambda one: one[1][0])


def _entry(catalogue: ReadCatalogue, number: int) -> int:
    """Return the first entry that did not fail."""
    failed = {row[0] for row in catalogue.rows("select entry from events where file = ?", number)}
    return next(entry for entry in range(len(failed) + 1) if entry not in failed)


def _drawn(title: str, source: Path, output: Path, entry: int, producer: str) -> Picture:
    caption = f"entry {entry}: charge above scores"
    try:
        # with --copy-input the output has the charge, too
        files = (source, output) if source.exists() else (output,)
        png, width, height = small_png(files, entry, producer)
    except (LArTPCError, OSError, ImportError, ValueError) as error:
        log.info("no picture of %s: %s", output, error)
        trouble = " ".join(str(error).split())
        return Picture(title, str(output), caption, trouble=trouble)
    return Picture(title, str(output), caption, png, width, height)


def small_png(files: tuple[Path, ...], entry: int, producer: str) -> tuple[str, int, int]:
    """Draw an event; return a PNG with few colours in base64, its width and its height.

    files: the last one has the scores. producer: of the charge; empty: draw what the files hold.
    """
    from PIL import Image

    from ....pictures import event_pictures, picture_choice, picture_events

    asked = picture_choice.RequestedPicture()
    if producer:
        names = map(picture_choice.score_name, picture_choice.holdings(files[-1]).images)
        scores = tuple(name for name in dict.fromkeys(names) if name != producer)
        asked = picture_choice.RequestedPicture(charge=(producer,), scores=scores)
    picture = event_pictures.PictureRequest(
        files=files,
        asked=asked,
        events=picture_events.select((str(entry),), ()),
        view="charge",
        region=None,
        roi=None,
        planes=None,
        tick_order="auto",
    )
    with tempfile.TemporaryDirectory(prefix="ssnet-report-") as folder:
        path = Path(folder) / "event.png"
        event_pictures.draw(picture, path)
        with Image.open(path) as drawn:
            high = round(drawn.height * _WIDE / drawn.width)
            small = drawn.convert("RGB").resize((_WIDE, high), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    small.quantize(_COLOURS).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode(), _WIDE, high
