"""A toy detector: neutrino-like events among cosmics, with truth. Refuses settings out of range.

Event k of seed s depends on k and s only, in every process. Each event has three planes of `wire`
(ADC) and of `segment` (0 background, 1 shower, 2 track), and a CROI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..errors import ParameterError
from ..image import ROI, RSE, Event, Image, ImageMeta
from . import argon
from .argon import Floats
from .chamber import FIRST_TICK, PLANES, TICK_US, Chamber
from .neutrino import Interaction, Kind, interact
from .particles import SHOWER, Deposits, Rays, Tracks, concatenate, join, leave_tracks
from .showers import leave_showers
from .wires import Mask, Response, dead_wires, digitise, true_charge

WIRE, SEGMENT, CROI = "wire", "segment", "croi"  # producers

_MASS_MEV: dict[Kind, float] = {
    "muon": argon.MUON_MEV,
    "pion": argon.PION_MEV,
    "proton": argon.PROTON_MEV,
}
_MUON_LIFE_US = 2.197


@dataclass(frozen=True)
class ToySettings:
    """The settings of the toy: the size of an image, the response, the number of cosmics."""

    chamber: Chamber = field(default_factory=Chamber)
    response: Response = field(default_factory=Response)
    cosmics: float | None = None
    """The mean number of cosmic muons per event. None: 12 in a full-size image, and fewer in a
    smaller one, in proportion to its side (not its area), so that small images still show some."""
    roi_pixels: int = 512
    """The side of a CROI (at most the image's); the default is the crop size of SSNet's chain."""

    def __post_init__(self) -> None:
        if self.cosmics is not None and not 0 <= self.cosmics <= 1000:
            raise ParameterError(f"want cosmics from 0 to 1000, got {self.cosmics}")
        if self.roi_pixels < 1:
            raise ParameterError(f"want roi_pixels of at least 1, got {self.roi_pixels}")

    @property
    def mean_cosmics(self) -> float:
        if self.cosmics is not None:
            return self.cosmics
        return 12 * float(np.sqrt(self.chamber.rows * self.chamber.cols / (1008 * 3456)))


@dataclass(frozen=True, eq=False)
class ToyEvent:
    """An event and the truth about it."""

    event: Event
    interaction: Interaction
    vertex_cm: Floats  # (3,)
    cosmics: int

    @property
    def statement(self) -> str:
        """The content of the event, in one line."""
        cosmics = {0: "no cosmic muon", 1: "one cosmic muon"}
        others = cosmics.get(self.cosmics, f"{self.cosmics} cosmic muons")
        return f"toy detector: {self.interaction.name}, {others}"


def events(
    count: int, *, seed: int, settings: ToySettings | None = None, start: int = 0
) -> Iterator[Event]:
    """Yield events `start` to `start + count - 1` of a seed."""
    for index in range(start, start + count):
        yield make(index, seed=seed, settings=settings).event


def make(index: int, *, seed: int, settings: ToySettings | None = None) -> ToyEvent:
    """Make event `index` of a seed: a neutrino interaction and cosmics, read out on three planes.

    Its (run, subrun, event) is (seed, index // 100, index).
    """
    if index < 0 or seed < 0:
        raise ParameterError(f"want seed and index of at least 0, got {seed} and {index}")
    settings = settings or ToySettings()
    rng = np.random.default_rng([seed, 1, index])
    interaction = interact(rng)
    vertex_cm = _somewhere(settings.chamber, rng, margin=0.15)
    count = int(rng.poisson(settings.mean_cosmics))
    tracks, electrons, photons = _set_out(interaction, vertex_cm, rng)
    deposits = _follow(
        [tracks, _cosmics(count, settings.chamber, rng)],
        electrons,
        photons,
        chamber=settings.chamber,
        rng=rng,
    )
    event = Event(
        rse=RSE(seed, index // 100, index),
        images=_read_out(deposits, settings, seed=seed, rng=rng),
        rois={CROI: (_croi(vertex_cm, settings, rng),)},
    )
    return ToyEvent(event, interaction, vertex_cm, count)


def dead_columns(seed: int, settings: ToySettings) -> tuple[Mask, ...]:
    """Return each plane's dead wires, (cols,); they are the same in all events of a seed."""
    rng = np.random.default_rng([seed, 0])
    return tuple(dead_wires(settings.chamber, settings.response, rng) for _ in PLANES)


def _somewhere(chamber: Chamber, rng: np.random.Generator, *, margin: float) -> Floats:
    low, high = chamber.bounds_cm
    return np.asarray(low + rng.uniform(margin, 1 - margin, 3) * (high - low))


def _set_out(
    interaction: Interaction, vertex_cm: Floats, rng: np.random.Generator
) -> tuple[Tracks, Rays, Rays]:
    """Return the primaries as tracks, electrons and photons that leave the vertex at time 0."""
    heavy = [p for p in interaction.primaries if p.kind in _MASS_MEV]
    length = [
        rng.exponential(argon.INTERACTION_LENGTH_CM) if p.kind != "muon" else np.inf for p in heavy
    ]
    tracks = Tracks(
        start_cm=np.tile(vertex_cm, (len(heavy), 1)),
        direction=np.array([p.direction for p in heavy]).reshape(-1, 3),
        kinetic_mev=np.array([p.kinetic_mev for p in heavy]),
        mass_mev=np.array([_MASS_MEV[p.kind] for p in heavy]),
        length_cm=np.array(length),
        time_us=np.zeros(len(heavy)),
    )
    electrons, photons = (_rays(interaction, kind, vertex_cm) for kind in ("electron", "photon"))
    return tracks, electrons, photons


def _rays(interaction: Interaction, kind: str, vertex_cm: Floats) -> Rays:
    rays = [p for p in interaction.primaries if p.kind == kind]
    return Rays(
        start_cm=np.tile(vertex_cm, (len(rays), 1)),
        direction=np.array([p.direction for p in rays]).reshape(-1, 3),
        energy_mev=np.array([p.kinetic_mev for p in rays]),
        time_us=np.zeros(len(rays)),
        label=np.full(len(rays), SHOWER, np.uint8),
    )


def _cosmics(count: int, chamber: Chamber, rng: np.random.Generator) -> Tracks:
    """Draw muons from above, cos^2 of the zenith angle (PDG), through random points in the volume.

    Their times are such that the charge at these points drifts into the readout window.
    """
    low, high = chamber.bounds_cm
    cosine = np.cbrt(rng.uniform(0.001, 1, count))
    turn = rng.uniform(0, 2 * np.pi, count)
    sine = np.sqrt(1 - cosine**2)
    direction = np.stack([sine * np.cos(turn), -cosine, sine * np.sin(turn)], axis=1)
    through = low + rng.uniform(size=(count, 3)) * (high - low)
    with np.errstate(divide="ignore"):
        to_low, to_high = (low - through) / direction, (high - through) / direction
    enters = np.minimum(to_low, to_high).max(axis=1)
    leaves = np.maximum(to_low, to_high).min(axis=1)
    ticks = FIRST_TICK + rng.uniform(size=count) * chamber.ticks
    return Tracks(
        start_cm=through + enters[:, None] * direction,
        direction=direction,
        kinetic_mev=np.exp(rng.normal(np.log(1500), 1.2, count)),
        mass_mev=np.full(count, argon.MUON_MEV),
        length_cm=leaves - enters,
        time_us=(ticks - chamber.tick(through, 0.0)) * TICK_US,
    )


def _follow(
    batches: list[Tracks],
    electrons: Rays,
    photons: Rays,
    chamber: Chamber,
    rng: np.random.Generator,
) -> Deposits:
    """Return what these particles and their secondaries deposit in the volume."""
    tracks = Tracks(*(np.concatenate(column) for column in zip(*batches, strict=True)))
    deposits, deltas, ends = leave_tracks(tracks, rng)
    electrons = join(join(electrons, deltas), _decays(tracks, ends, rng))
    showered = leave_showers(electrons, photons, bounds_cm=chamber.bounds_cm, rng=rng)
    return chamber.keep(concatenate([deposits, showered]))


def _decays(tracks: Tracks, ends_cm: Floats, rng: np.random.Generator) -> Rays:
    """Draw Michel electrons of muons that stopped.

    A pion's muon has 4 MeV and goes 1 mm, so it decays where the pion stopped. The spectrum is
    x^2 (3 - 2x) up to 52.8 MeV (PDG). Argon captures three quarters of the negative muons, so 65 %
    of the cosmic mixture decay; a positive pion's muon always decays.
    """
    stops = argon.range_cm(tracks.kinetic_mev, tracks.mass_mev) <= tracks.length_cm
    chance = np.select(
        [tracks.mass_mev == argon.MUON_MEV, tracks.mass_mev == argon.PION_MEV], [0.65, 1.0], 0.0
    )
    at = np.flatnonzero(stops & (rng.uniform(size=len(stops)) < chance))
    x = np.linspace(0, 1, 200)
    direction = rng.normal(size=(len(at), 3))
    return Rays(
        start_cm=ends_cm[at],
        direction=direction / np.linalg.norm(direction, axis=1, keepdims=True),
        energy_mev=52.8 * np.interp(rng.uniform(size=len(at)), 2 * x**3 - x**4, x),
        time_us=tracks.time_us[at] + rng.exponential(_MUON_LIFE_US, len(at)),
        label=np.full(len(at), SHOWER, np.uint8),
    )


def _read_out(
    deposits: Deposits, settings: ToySettings, *, seed: int, rng: np.random.Generator
) -> dict[str, tuple[Image, ...]]:
    wire, segment = [], []
    for plane, dead in zip(PLANES, dead_columns(seed, settings), strict=True):
        charge = true_charge(deposits, settings.chamber, settings.response, plane)
        adc, labels = digitise(charge, dead, settings.response, rng)
        meta = settings.chamber.meta(plane)
        wire.append(Image(meta, adc))
        segment.append(Image(meta, labels))
    return {WIRE: tuple(wire), SEGMENT: tuple(segment)}


def _croi(vertex_cm: Floats, settings: ToySettings, rng: np.random.Generator) -> ROI:
    """Return a box per plane around the vertex, off its centre; all boxes share the ticks."""
    chamber = settings.chamber
    rows, cols = min(settings.roi_pixels, chamber.rows), min(settings.roi_pixels, chamber.cols)
    vertex_tick = chamber.tick(vertex_cm[None], 0.0)[0]
    vertex_row = (chamber.last_tick - vertex_tick) / chamber.ticks_per_pixel
    top = _around(vertex_row, rows, chamber.rows, rng)
    boxes = []
    for plane in PLANES:
        vertex_col = chamber.wire(plane, vertex_cm[None])[0] / chamber.wires_per_pixel
        left = _around(vertex_col, cols, chamber.cols, rng)
        boxes.append(
            ImageMeta(
                width=cols * chamber.wires_per_pixel,
                height=rows * chamber.ticks_per_pixel,
                rows=rows,
                cols=cols,
                origin_x=left * chamber.wires_per_pixel,
                origin_y=chamber.last_tick - top * chamber.ticks_per_pixel,
                plane=plane,
            )
        )
    return ROI(boxes=tuple(boxes))


def _around(place: float, side: int, size: int, rng: np.random.Generator) -> int:
    """Return the first pixel of a box of length `side` around `place`, inside `size` pixels."""
    first = round(place - side * rng.uniform(0.3, 0.7))
    return min(max(first, 0), size - side)
