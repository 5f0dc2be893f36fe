"""The process that writes with ROOT: it takes orders on its standard input, and answers each.

ROOT ends its process on some damaged or unusual trees. So it runs here, and its parent
(`writer_process.py`) survives it. `python -m lartpc.files.root_writing.writer_child FORMAT`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import LArTPCError
from ..formats import Format
from .copied import Copied
from .declared import load_root
from .exchange import Message, receive, send, to_event
from .root_sink import ROOTSink, append_provenance

# signals whose handlers ROOT sets: it then prints a stack trace, which took minutes
_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)


class _Writer:
    """The open files of this process, by number."""

    def __init__(self, root: Any, format: Format, answers: BinaryIO) -> None:
        self._root = root
        self._format = format
        self._answers = answers
        self._sinks: dict[int, ROOTSink] = {}
        self._orders: dict[str, Callable[[Message], Any]] = {
            "open": self._open,
            "write": self._write,
            "append": self._append,
            "close": lambda order: self._sinks.pop(order.fields["sink"]).close(),
            "abort": lambda order: self._sinks.pop(order.fields["sink"]).abort(),
            "provenance": self._provenance,
        }

    def obey(self, order: Message) -> None:
        """Carry out an order, and send one answer with its result or its error."""
        try:
            result = self._orders[order.fields["order"]](order)
        except LArTPCError as error:
            self._say(error=type(error).__name__, text=str(error))
        except OSError as error:
            self._say(error="OSError", text=str(error))
        except Exception as error:
            self._say(error="RuntimeError", text=f"{type(error).__name__}: {error}")
        else:
            self._say(result=result)

    def _say(self, **fields: Any) -> None:
        send(self._answers, Message(fields))

    def _open(self, order: Message) -> None:
        fields = order.fields
        copied = fields["copied"]
        self._sinks[fields["sink"]] = ROOTSink(
            self._root,
            self._format,
            Path(fields["part"]),
            _copied(copied) if copied else None,
            fields["images"],
            fields["rois"],
            on_copy=lambda place: self._say(at=place),
        )

    def _write(self, order: Message) -> None:
        self._sinks[order.fields["sink"]].write(to_event(order), order.fields["entry"])

    def _append(self, order: Message) -> int:
        fields = order.fields
        return self._sinks[fields["sink"]].append(
            [Path(part) for part in fields["parts"]],
            fields["entries"],
            lambda part: self._say(part=part),
        )

    def _provenance(self, order: Message) -> None:
        append_provenance(self._root, Path(order.fields["path"]), order.fields["records"])


def _copied(fields: list[Any]) -> Copied:
    paths, sizes, names, foreign, maps = map(tuple, fields)
    return Copied(tuple(map(Path, paths)), sizes, names, foreign, maps)


def _end_with_the_parent() -> None:
    """End this process as soon as the parent has gone, also while ROOT loads or writes.

    The kernel reports that nobody holds the other end of the pipe any more, even if the orders in
    it were not read.
    """
    poll = select.poll()
    poll.register(0, 0)  # POLLHUP only
    poll.poll()
    os._exit(0)  # the files are not complete: ROOT must not close them


def main() -> None:
    """Obey orders until the parent has gone."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides when this process ends
    orders = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what ROOT prints is no answer
    format: Format = "larcv2" if sys.argv[1] == "larcv2" else "larcv1"
    try:
        root = load_root(format)
    except LArTPCError as error:
        send(answers, Message({"error": type(error).__name__, "text": str(error)}))
        return
    for number in _CRASHES:
        signal.signal(number, signal.SIG_DFL)
    send(answers, Message({"result": None}))
    writer = _Writer(root, format, answers)
    while True:
        try:
            order = receive(orders)
            writer.obey(order)
        except (EOFError, BrokenPipeError):
            os._exit(0)  # the files are not complete: ROOT must not close them


if __name__ == "__main__":
    main()
