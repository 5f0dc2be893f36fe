"""`ssnet canary`, as an operator uses it: beside a pool of this machine, which has keys."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import plane_pools, tiny_networks
from tests.support.commands_of_ssnet import ssnet

from ..clients.canary.test_canary_runs import noisy_weights

RUN = ("--size", "64", "--planes", "2")


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, weights in (("old", tiny_networks.gentle_weights()), ("new", noisy_weights())):
        (tmp_path / name).mkdir()
        tiny_networks.write(tmp_path / name, weights=weights)
    july = tmp_path / "july"
    options = ("--launcher", "local", "--planes", "2", "--threads", "1", "-n", "1")
    ssnet("pool", "start", july, *options, "--network", tmp_path / "old")
    try:
        yield july
    finally:
        for words in (("canary", "drop", "--pool", july), ("pool", "stop", july, "--now")):
            with contextlib.suppress(AssertionError):  # it says more of a test that failed
                ssnet(*words)


def test_a_canary_is_started_compared_refused_promoted_and_dropped(
    pool: Path, tmp_path: Path
) -> None:
    ours = ("--pool", pool)
    plane_pools.toys(tmp_path / "in.root", 4)
    assert "there was no canary" in ssnet("canary", "report", *ours, code=1).stderr
    ssnet("run", tmp_path / "in.root", "-o", tmp_path / "plain.root", *ours, *RUN)

    ssnet("canary", "start", tmp_path / "new", *ours, "--share", "1")
    again = ssnet("canary", "start", tmp_path / "new", *ours, "--share", "1", code=1)
    assert "runs already" in again.stderr
    assert "started by" in again.stderr
    other = ssnet("canary", "start", tmp_path / "old", *ours, code=1)
    assert "there is a canary already" in other.stderr

    ssnet("canary", "report", *ours, code=1)  # nothing was compared yet
    ssnet("run", tmp_path / "in.root", "-o", tmp_path / "with.root", *ours, *RUN)
    one, other_file = (plane_pools.read(tmp_path / f"{n}.root") for n in ("plain", "with"))
    assert plane_pools.same(one, other_file)
    page = tmp_path / "canary.html"
    found = json.loads(ssnet("canary", "report", *ours, "--json", "-o", page, code=3).stdout)
    assert found["crops"] == found["counts"]["sent"] > 0
    assert found["sentence"].startswith("differs: ")
    assert found["max_difference"] > 0
    assert page.read_text().count("<img") == sum(len(a["worst"]) for a in found["agreements"])

    status = json.loads(ssnet("canary", "status", *ours, "--json").stdout)
    assert (status["state"], status["sentence"]) == ("running", found["sentence"])
    for _ in range(2):
        done = ssnet("canary", "promote", *ours)
        assert "still have the old weights" in done.stdout
        assert str(tmp_path / "new") in done.stdout
    assert "promoted" in ssnet("canary", "drop", *ours).stdout

    ssnet("canary", "start", tmp_path / "old", *ours, "--share", "1", "--canary", "same")
    ssnet("run", tmp_path / "in.root", "-o", tmp_path / "same.root", *ours, *RUN)
    equal = json.loads(ssnet("canary", "report", *ours, "--json").stdout)
    crops = found["crops"]
    assert equal["sentence"] == f"agrees to the bit in {crops} of {crops} crops"
    for _ in range(2):
        assert "is dropped" in ssnet("canary", "drop", *ours).stdout
    assert "dropped" in ssnet("canary", "promote", *ours, code=1).stderr
    assert json.loads(ssnet("canary", "report", *ours, "--json").stdout) == equal
