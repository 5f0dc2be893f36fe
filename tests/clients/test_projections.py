"""Detectors with several TPCs: more projections than three, and what happens with each."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.check.acceptance import Check, check_output
from clients.commands.option_checks import numbers
from clients.files import choices
from clients.files.entries import check_planes
from clients.scoring.job import ScoringJob
from clients.scoring.score import score
from lartpc import ImageError, open_reader
from lartpc.crops import chain
from mdp import SettingsError
from services.errors import NetworkError
from services.networks import find
from services.planes import MAX_PLANE, PLANES, ranges
from tests.support import larcv2_files, plane_pools
from tests.support.optional import optional
from tests.support.processes import QUICK, Processes, free_port
from tests.support.shared import data

SIX = (5, 0, 3, 1, 4, 2)


@pytest.mark.parametrize(
    ("text", "want"),
    [("0,1,2", (0, 1, 2)), ("2", (2,)), ("0,1,3-5", (0, 1, 3, 4, 5)), ("0-5", (0, 1, 2, 3, 4, 5))],
)
def test_planes_are_typed_as_numbers_and_ranges(text: str, want: tuple[int, ...]) -> None:
    assert numbers(text) == want
    assert numbers(ranges(want)) == want


@pytest.mark.parametrize("text", ["0,0", "0-2,1", "5-3", "-1", "1-", f"0-{MAX_PLANE + 1}", "a"])
def test_other_texts_are_no_planes(text: str) -> None:
    with pytest.raises(SettingsError, match=r"0-5|different planes"):
        numbers(text)


def test_projections_that_nobody_named_are_refused_with_the_option_that_scores_them() -> None:
    with pytest.raises(ImageError, match=r"\(--planes 0-5 scores all of them\)"):
        check_planes(SIX, PLANES)
    check_planes(SIX, PLANES, skip_others=True)
    check_planes((0, 1, 2), (1,))
    with pytest.raises(ImageError, match="65535 means that none is set"):
        check_planes((0, 1, 65535), PLANES)
    with pytest.raises(ImageError, match=r"want one image of each plane \[3\] or none"):
        check_planes((0, 3, 3), (3,), skip_others=True)


def test_a_network_of_plane_1_is_not_that_of_plane_10(tmp_path: Path) -> None:
    for name in ("net.prototxt", "a_plane1.caffemodel", "a_plane10.caffemodel"):
        (tmp_path / name).touch()
    assert find(tmp_path, 1)[1].name == "a_plane1.caffemodel"
    assert find(tmp_path, 10)[1].name == "a_plane10.caffemodel"
    with pytest.raises(NetworkError, match=r"plane 3 .*--network .* plane3 in its name"):
        find(tmp_path, 3)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    optional("ROOT")
    return larcv2_files.write(tmp_path_factory.mktemp("six") / "six.root", "new", SIX)


@pytest.mark.slow
def test_all_projections_of_the_first_file_are_scored_unless_the_user_names_some(
    six: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert choices.planes(six, "wire", PLANES) == (0, 1, 2, 3, 4, 5)
    assert "has planes 0-5: all are scored" in caplog.text
    chosen = choices.scored([six], size=32)
    assert chosen == choices.Scored("wire", chain.Croi("croi", 32))  # bbox2d's boxes
    asked = choices.scored([six], producer="sparse2d:wire", rois="particle:mcst", size=32)
    assert asked == choices.Scored("sparse2d:wire", chain.Croi("particle:mcst", 32))


@pytest.mark.slow
def test_the_usual_planes_stay_the_usual_ones() -> None:
    for name, producer in (("larcv1_pipeline_in.root", "modimg"), ("larcv2_wire_5ev.root", "wire")):
        assert choices.planes(data(name), producer, PLANES) == PLANES


@pytest.mark.slow
@pytest.mark.parametrize("producer", ["wire", "cluster2d:wire"])
def test_named_projections_are_scored_around_the_particles_boxes(
    six: Path, tmp_path: Path, producer: str
) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with Processes(tmp_path) as processes:
        processes.broker(endpoint, *QUICK)
        plane_pools.start(processes, endpoint, planes=(0, 3))
        job = ScoringJob(
            inputs=(six,),
            output=tmp_path / "out.h5",
            broker=endpoint,
            mode=chain.Croi("particle:mcst", size=32),
            producer=producer,
            planes=(0, 3),
            skip_others=True,
            timeout_s=60,
        )
        report = score(job)
        with pytest.raises(ImageError, match="--planes 0-5 scores all of them"):
            score(replace(job, output=tmp_path / "all.h5", skip_others=False, fresh=True))
    assert (report.events, report.empty) == (3, 1)
    with open_reader(job.output, tick_order="forward") as scored:
        assert scored.images == ("uburn_plane0", "uburn_plane3")
        for entry, event in enumerate(scored):
            made = {one.projection: one for one in larcv2_files.images(entry, SIX)}
            for plane in (0, 3) if made else ():
                (shower, track) = event.images[f"uburn_plane{plane}"]
                left = round((shower.meta.min_x - made[plane].corners[0]) / 0.3)
                low = round((shower.meta.min_y - made[plane].corners[1]) / 6)
                inside = np.s_[low : low + shower.meta.rows, left : left + shower.meta.cols]
                adc = made[plane].pixels[inside]
                assert shower.meta.rows >= 32
                assert adc.any()
                # the stand-ins answer ADC / 500 and ADC / 1000, rounded to float16
                assert np.allclose(shower.pixels, adc / 500, rtol=2e-3)
                assert np.allclose(track.pixels, adc / 1000, rtol=2e-3)
    findings = check_output(Check(inputs=(six,), output=job.output))
    assert not [finding for finding in findings if finding.bad and finding.name != "shower"]
