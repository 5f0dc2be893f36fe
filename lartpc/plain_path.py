r"""Paths that ROOT takes as they are: it reads `#`, `?` and `$` in a path as a URL's, or a shell's.

Refuses a folder for temporary files whose own name has such characters.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from .errors import WriteError

_PLAIN = re.compile(r"/[A-Za-z0-9_./-]*")


class PlainPaths:
    """Other names for paths, where they need one, until `close()`."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._links = 0

    def of(self, path: Path) -> str:
        """The absolute path if it is plain, else a link to its folder and its (plain) name."""
        whole = os.path.abspath(path)
        if _PLAIN.fullmatch(whole):
            return whole
        # a link to the folder, not to the file: ROOT replaces a file that it writes
        if _PLAIN.fullmatch("/" + path.name):
            return f"{self._link(os.path.dirname(whole))}/{path.name}"
        return self._link(whole)

    def _link(self, target: str) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ssnet-")
        link = f"{self._folder.name}/{self._links}"
        if not _PLAIN.fullmatch(link):
            raise WriteError(f"want a TMPDIR of letters, digits, _, . and -, for ROOT, got {link}")
        os.symlink(target, link)
        self._links += 1
        return link

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
