"""Pictures of the worst crops: charge, old classes, new classes, difference. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lartpc.display import picture_files

from .agreement import NAMES, CropName, Pair, classes_of
from .canary_report import CropPixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#ffffff", "#d55e00", "#0072b2")  # told apart by colour-blind people, too


def picture_name(pair: Pair, name: CropName) -> str:
    """Return the file's name: `plane2_run1_0_17_crop3.png`."""
    return f"plane{pair.plane}_run{name.run}_{name.subrun}_{name.event}_crop{name.crop}.png"


def save(folder: Path, pair: Pair, name: CropName, pixels: CropPixels) -> Path:
    """Draw a crop into a file in `folder`, and return its path. Raises `WriteError`."""
    path = folder / picture_name(pair, name)
    picture_files.save(draw(pair, name, pixels), path)
    return path


def draw(pair: Pair, name: CropName, pixels: CropPixels) -> Figure:
    """Draw four panels of one crop."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    axes = figure.subplots(1, 4, sharex=True, sharey=True)
    before, after = classes_of(pixels.old), classes_of(pixels.new)
    shown = axes[0].imshow(pixels.charge, cmap="Greys", vmin=0, vmax=200)
    figure.colorbar(shown, ax=axes[0], label="charge (ADC)", shrink=0.8)
    for ax, labels in ((axes[1], before), (axes[2], after)):
        shown = ax.imshow(labels, cmap=ListedColormap(_COLOURS), vmin=-0.5, vmax=2.5)
    bar = figure.colorbar(shown, ax=axes[1:3], ticks=range(len(NAMES)), shrink=0.8)
    bar.ax.set_yticklabels(NAMES)
    largest = np.abs(pixels.new.astype(np.float64) - pixels.old.astype(np.float64)).max(axis=0)
    shown = axes[3].imshow(largest, cmap="magma_r", vmin=0, vmax=max(float(largest.max()), 1e-6))
    figure.colorbar(shown, ax=axes[3], label="largest |new - old| of the scores", shrink=0.8)
    changed = int((before != after).sum())
    titles = ("charge", "old classes", "new classes", f"{changed} pixels change class")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.set_xlabel("column")
    axes[0].set_ylabel("row")
    event = f"({name.run}, {name.subrun}, {name.event})"
    figure.suptitle(f"event {event} plane {name.plane} crop {name.crop}")
    return figure
