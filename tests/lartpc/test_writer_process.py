"""The process that writes with ROOT, as its parent sees it."""

from __future__ import annotations

import pytest

from lartpc.files.root.writing import writer_process
from lartpc.files.root.writing.exchange import Message


def test_answers_that_arrive_together_are_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent waited for ever for an answer that its buffer had read already."""
    monkeypatch.setattr(writer_process, "_MODULE", "tests.support.quick_answers")
    monkeypatch.setattr(writer_process, "_LOOK_S", 1.0)
    monkeypatch.setattr(writer_process, "_STUCK_S", 3.0)
    writer = writer_process.ROOTWriter("larcv1")
    try:
        for _ in range(2):  # the second order fails if the process was taken for stuck, and ended
            parts: list[int] = []
            result = writer.obey(Message({"order": "append"}), "joined", on_part=parts.append)
            assert (result, parts) == (7, [0, 1])
    finally:
        writer.end()
        writer._messages.close()
