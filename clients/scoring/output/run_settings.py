"""The settings that decide a run's output, besides the networks; they identify the run."""

from __future__ import annotations

from typing import Any

from lartpc import Reader
from services.planes import PLANES

from ...files.provenance import Provenance, mode_settings, overruled
from ..job import ScoringJob
from .state import RunSettings, plain


def record_settings(job: ScoringJob) -> dict[str, Any]:
    """Return the settings as the record in the output states them."""
    return {
        "mode": mode_settings(job.mode),
        "producer": job.producer,
        "threshold_adc": job.low_adc,
        "ceiling_adc": job.high_adc,
        # left out at its default, so that runs of older software, which lack it, can be resumed
        **({} if job.planes == PLANES else {"planes": list(job.planes)}),
    }


def run_settings(
    job: ScoringJob, reader: Reader, order: range, provenance: Provenance
) -> RunSettings:
    """Return the inputs with checksums, the entries, and all settings that change the output."""
    inputs = zip(job.inputs, provenance.checksums(), reader.sizes, strict=True)
    return plain(
        {
            "inputs": [{**checksum.of(path), "entries": count} for path, checksum, count in inputs],
            "entries": [order.start, order.stop],
            **record_settings(job),
            "tick_order": job.tick_order,
            **overruled(reader),
            "copy_input": job.copy_input,
            # the other formats are known from the suffix; left out for runs of older software
            **({"format": job.format} if job.format == "larcv2" else {}),
        }
    )
