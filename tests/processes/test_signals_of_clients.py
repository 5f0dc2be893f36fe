"""Being stopped while an output is finished: it has its name, or nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from clients.flow.signals import close_output
from lartpc import Writer, open_writer
from mdp.system.interrupts import interrupted_by_signals


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_who_is_stopped_while_the_output_is_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals
) -> None:
    finish = Writer.finish

    def stopped(writer: Writer) -> None:
        signal.raise_signal(stop)
        finish(writer)
        assert len(list(tmp_path.iterdir())) == 1  # it was not disturbed

    monkeypatch.setattr(Writer, "finish", stopped)
    with (
        pytest.raises(KeyboardInterrupt),
        interrupted_by_signals(),
        open_writer(tmp_path / "out.h5", images=["wire"]) as writer,
    ):
        close_output(writer)
    assert list(tmp_path.iterdir()) == []


def test_who_is_stopped_once_the_output_has_its_name_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Writer.close

    def stopped(writer: Writer) -> None:
        close(writer)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Writer, "close", stopped)
    with interrupted_by_signals():
        close_output(open_writer(tmp_path / "out.h5", images=["wire"]))
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
