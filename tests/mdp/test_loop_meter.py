"""How late a loop was, and what its process takes."""

from __future__ import annotations

from mdp.system.loop_meter import LoopMeter


def lag_s(meter: LoopMeter) -> float:
    return meter.report()["lag_s"]


def test_the_longest_delay_is_shown_for_30_to_60_s() -> None:
    meter = LoopMeter()
    meter.note(-1.0, 100.0)
    assert lag_s(meter) == 0.0
    meter.note(0.5, 101.0)
    meter.note(0.1, 110.0)
    assert lag_s(meter) == 0.5
    meter.note(-1.0, 131.0)  # the next window
    meter.note(0.2, 135.0)
    assert lag_s(meter) == 0.5
    meter.note(-1.0, 162.0)
    assert lag_s(meter) == 0.2
    meter.note(-1.0, 1000.0)
    assert lag_s(meter) == 0.0


def test_a_loop_that_had_nothing_to_do_for_long_forgets_the_windows_before() -> None:
    meter = LoopMeter()
    meter.note(0.5, 100.0)
    meter.note(0.1, 500.0)
    assert lag_s(meter) == 0.1


def test_it_reports_the_process() -> None:
    figures = LoopMeter().report()
    assert 1 << 20 < figures["resident_bytes"] < 1 << 40
    assert 0 < figures["loop_cpu_s"] <= figures["cpu_s"]
    with open("/dev/null") as _, open("/dev/null") as _:
        assert LoopMeter().report()["open_files"] == figures["open_files"] + 2
    assert figures["open_files"] < figures["max_open_files"]
