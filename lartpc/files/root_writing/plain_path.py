r"""Paths that ROOT opens as plain local files.

ROOT reads `#`, `?` and `$` in a path as parts of a URL or of a shell's command. It also looks at
the suffix: it opens `.zip` as an archive and `.xml` as a text file.
Refuses a folder for temporary files (TMPDIR) whose path has such characters.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from ...errors import WriteError

_PLAIN = re.compile(r"/[A-Za-z0-9_./-]*")
# suffixes that ROOT does not treat in a special way
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]*\.(root|part)")


class PlainPaths:
    """Gives plain names to paths that need one; `close()` removes these names."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._links = 0

    def of(self, path: Path) -> str:
        """Return the absolute path if it is plain, else a plain path that links to it."""
        whole = os.path.abspath(path)
        plain = _PLAIN_NAME.fullmatch(path.name)
        if plain and _PLAIN.fullmatch(whole):
            return whole
        # link to the folder and not to the file, because ROOT replaces a file that it writes
        if plain:
            return f"{self._link(os.path.dirname(whole), '')}/{path.name}"
        return self._link(whole, ".root")

    def _link(self, target: str, suffix: str) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ssnet-")
        link = f"{self._folder.name}/{self._links}{suffix}"
        if not _PLAIN.fullmatch(link):
            raise WriteError(f"want a TMPDIR of letters, digits, _, . and -, for ROOT, got {link}")
        os.symlink(target, link)
        self._links += 1
        return link

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
