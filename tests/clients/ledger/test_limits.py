"""What limits a run: a made-up run for each verdict, and the words it comes to."""

from __future__ import annotations

import re

import pytest

from clients.ledger.figures import figures
from clients.ledger.limits import Kind, pools, verdicts
from mdp.pool.advice import best_split
from tests.support.ledgers import PLANES, MadeUp

FULL = {plane: [0.01] for plane in PLANES}
FOUR = {plane: [0.01] * 4 for plane in PLANES}

CASES: dict[str, tuple[MadeUp, Kind, str]] = {
    "one plane's pool": (
        MadeUp(workers={0: [0.005] * 2, 1: [0.005] * 2, 2: [0.02] * 2}),
        "planes",
        r"Plane 2's workers were busy (99|100) % of the time, plane 0's 2[56] %, plane 1's 2[56] %:"
        r" move workers from plane 0 and plane 1 to plane 2\. With 1 of plane 0, 1 of plane 1 and 4"
        r" of plane 2 instead of 2 of plane 0, 2 of plane 1 and 2 of plane 2, the same workers need"
        r" about (50|51) % of the time\.",
    ),
    "one plane's only worker": (
        MadeUp(workers={0: [0.005], 1: [0.005], 2: [0.01]}),
        "planes",
        r"Plane 2's workers were busy \d+ % .*: add workers to plane 2; the others have time",
    ),
    "all pools": (
        MadeUp(workers=FULL, read_s=0.002),
        "pools",
        r"Plane 0's workers were busy (99|100) % .*, plane 2's (99|100) %: the networks limit.*"
        r"up to about 5\.0 times as many; then this client's reading",
    ),
    "one event": (
        MadeUp(workers=FULL, events=1),
        "pools",
        r"busy 100 % .* as they should\. More workers do not help so short a run",
    ),
    "the reader": (
        MadeUp(workers=FOUR, read_s=0.02),
        "reading",
        r"reading (99|100) % of the time \(files (99|100) %.*more workers do not help",
    ),
    "the writer": (
        MadeUp(workers=FOUR, write_s=0.02),
        "writing",
        r"writing (99|100) % of the time \(unpacking 0 %, stitching 0 %, the file (99|100) %\)",
    ),
    "the window": (
        MadeUp(workers=FOUR, window=2, write_s=0.001),
        "window",
        r"workers waited for requests \(plane 0's \d\d %, .* room in its window of 2 events: widen",
    ),
    "one slow worker": (
        MadeUp(workers={**FOUR, 1: [0.01] * 3 + [0.1]}, write_s=0.0005),
        "worker",
        r"Plane 1's worker node1:3 took 0\.1 s a crop, .* other workers 0\.01 s.*filled the",
    ),
    "the way to the workers": (
        MadeUp(workers=FULL, way_s=0.02),
        "elsewhere",
        r"Plane \d's workers were busy with this client's crops 33 % .* all but 0 % of it",
    ),
    "the client's threads, by turns": (
        MadeUp(
            workers={plane: [0.0005] for plane in PLANES},
            by_turns=True,
            read_s=0.005,
            write_s=0.005,
        ),
        "client",
        r"reading 4[78] % and writing 4[78] % of the time.*share one interpreter",
    ),
    "nothing": (
        MadeUp(workers=FULL, by_turns=True, read_s=0.005, write_s=0.005),
        "unclear",
        r"all the time\. Plane 0's workers were busy 50 % .*, the client 25 %"
        r" reading and 25 % writing",
    ),
    "the first event and the last": (
        MadeUp(workers=FOUR, events=3, read_s=0.01, write_s=0.01),
        "unclear",
        r"the client 60 % reading and 60 % writing\. Short runs spend",
    ),
    "no crops at all": (MadeUp(crops=0), "nothing", "No event had crops"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_limit_is_named_with_its_figures_and_its_remedy(case: str) -> None:
    made_up, kind, says = CASES[case]
    first = verdicts(figures(made_up.records()))[0]
    assert (first.kind, re.search(says, first.text) is not None) == (kind, True), first.text


def test_a_full_pool_is_the_limit_even_if_one_of_its_workers_is_slow() -> None:
    first, second = verdicts(
        figures(MadeUp(workers={0: [0.01] * 2, 1: [0.01] * 2, 2: [0.03, 0.06]}).records())
    )
    assert first.kind == "planes"
    assert second.kind == "worker"
    assert "worker node2:1 took 0.06 s a crop, and the plane's other workers 0.03 s" in second.text


def test_messages_too_large_for_the_windows_bytes_are_named() -> None:
    """The window allows 64 events, and two are under way."""
    made_up = MadeUp(workers=FOUR, window=2)
    facts, *others = made_up.records()
    run = made_up.facts._replace(window=64, window_bytes=256 << 20)
    assert facts == made_up.facts
    [verdict] = verdicts(figures([run, *others]))
    assert verdict.kind == "bytes"
    assert re.search(r"not 64, .* at most 256 MB", verdict.text)


def test_the_shares_of_a_pools_time_are_those_of_the_simulation() -> None:
    made_up = MadeUp(workers={0: [0.01]}, read_s=0.01, write_s=0.0, window=1, events=100)
    [pool] = pools(figures(made_up.records()))
    assert pool.workers == pytest.approx(1, abs=0.02)
    # reading goes on beside the network: only the very first event's is waited for
    assert pool.busy == pytest.approx(1, abs=0.02)
    assert pool.wanting == pytest.approx(0, abs=0.02)
    slow_reader = MadeUp(workers={0: [0.01]}, read_s=0.02, write_s=0.0, window=1, events=100)
    [pool] = pools(figures(slow_reader.records()))
    assert pool.busy == pytest.approx(0.5, abs=0.02)
    assert pool.wanting == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("busy_s", "workers", "split"),
    [([1, 1, 4], 6, [1, 1, 4]), ([1, 1, 1], 7, [3, 2, 2]), ([1, 0, 9], 3, [1, 1, 1])],
)
def test_workers_are_shared_out_so_that_the_last_plane_is_done_soonest(
    busy_s: list[float], workers: int, split: list[int]
) -> None:
    assert best_split(busy_s, workers) == split
