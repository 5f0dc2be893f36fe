"""What decides a run's output besides the networks: with the same settings it is the same run."""

from __future__ import annotations

from typing import Any

from lartpc import Reader

from ...files.provenance import Provenance, mode_settings
from ..job import PLANES, ScoringJob
from .state import RunSettings


def record_settings(job: ScoringJob) -> dict[str, Any]:
    """What the record in the output says of the settings."""
    return {
        "mode": mode_settings(job.mode),
        "producer": job.producer,
        "threshold_adc": job.low_adc,
        "ceiling_adc": job.high_adc,
        **({} if job.planes == PLANES else {"planes": list(job.planes)}),
    }


def run_settings(
    job: ScoringJob, reader: Reader, order: range, provenance: Provenance
) -> RunSettings:
    """Inputs with their checksums, entries, and all settings that change the output."""
    inputs = zip(job.inputs, provenance.stamps(), reader.sizes, strict=True)
    return {
        "inputs": [{**stamp.of(path), "entries": entries} for path, stamp, entries in inputs],
        "entries": [order.start, order.stop],
        **record_settings(job),
        "tick_order": job.tick_order,
        "copy_input": job.copy_input,
    }
