"""The folder of one attempt at a file, and what it takes over from earlier attempts.

Each attempt has a folder with a random name, `DIR/.campaign/work/NUMBER/TOKEN`, in which only its
own reader writes. So a reader that comes back late cannot change the files of its successor,
whatever locks and caches of a network file system do: it does not know the successor's name.

A later attempt adopts the checkpoints of an earlier one by hard links, or copies them where links
fail. Finished parts never change, so both folders may refer to the same bytes. The earlier folder
is only read: nothing in it is renamed, locked or removed. Its lock is not adopted.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lartpc.files.whole_file import named, sync
from mdp import Refused, SettingsError

from ...files.failed_report import report_path
from ...scoring.output.parts_folder import PartsFolder
from ...scoring.output.state import Part, State
from ..file_request import FileRequest

log = logging.getLogger(__name__)

CAMPAIGN = ".campaign"
_TOKEN_BYTES = 8
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
_MAKE_TRIES = 5


@dataclass(frozen=True)
class Attempt:
    """One attempt at one file."""

    folder: Path
    """`DIR/.campaign/work/NUMBER/TOKEN`."""
    name: str
    """The name of the output, without folders."""

    @classmethod
    def begin(cls, request: FileRequest) -> Attempt:
        """Make the folder. Raises `Refused` for a campaign of others, and `WriteError`."""
        parent = _work(request) / str(request.number)
        token = secrets.token_hex(_TOKEN_BYTES)
        with named(parent):
            for tries_left in reversed(range(_MAKE_TRIES)):
                parent.mkdir(exist_ok=True)
                try:
                    (parent / token).mkdir()
                    break
                except FileNotFoundError:  # a driver removed the parent of a file that is done
                    if not tries_left:
                        raise
            sync(parent)
            sync(parent.parent)
        return cls(parent / token, Path(request.name).name)

    @property
    def token(self) -> str:
        return self.folder.name

    @property
    def output(self) -> Path:
        return self.folder / self.name

    def in_work(self, path: Path) -> str:
        """Return the path of a file of this attempt, relative to `.campaign/work`."""
        return path.relative_to(self.folder.parent.parent).as_posix()

    def earlier(self) -> list[Path]:
        """Return where earlier attempts at the file have put its output, or will put it."""
        with suppress(OSError):
            folders = [path for path in self.folder.parent.iterdir() if path != self.folder]
            return [folder / self.name for folder in folders]
        return []

    def remove(self) -> None:
        """Remove the folder, and its parent if no other attempt is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def leave(self) -> None:
        """Keep the folder if it has checkpoints, which a later attempt adopts; else remove it."""
        if self.output.exists() or (PartsFolder(self.output).path / "state.json").exists():
            return
        self.remove()


def work_of(folder: str) -> Path:
    """Return the folder of all attempts of the campaign in `folder`."""
    return Path(folder) / CAMPAIGN / "work"


def _work(request: FileRequest) -> Path:
    """Return the folder of all attempts. Raises `Refused` if the campaign is not this user's."""
    campaign = Path(request.folder) / CAMPAIGN
    try:
        status = campaign.lstat()
    except OSError as error:
        raise Refused(
            f"want a campaign's folder that this reader can see, on {os.uname().nodename}, got"
            f" {campaign}: {error.strerror}"
        ) from None
    if not campaign.is_dir() or campaign.is_symlink() or status.st_uid != os.getuid():
        raise Refused(
            f"want a campaign of user {os.getuid()}, who runs this reader, got {campaign} of user"
            f" {status.st_uid}"
        )
    work = work_of(request.folder)
    with named(work):
        work.mkdir(exist_ok=True)
    return work


# What earlier attempts have finished.


@dataclass(frozen=True)
class _Earlier:
    output: Path
    is_whole: bool
    state: State | None
    saved_at: float

    @property
    def rank(self) -> tuple[bool, int, float]:
        return self.is_whole, self.state.events if self.state else 0, self.saved_at


def adopt(output: Path, earlier: list[Path]) -> bool:
    """Take over what the earlier attempts have finished; return whether there was anything.

    output: where this attempt writes; its folder is still empty. earlier: the outputs of other
    attempts. A complete output is adopted whole, so that nothing is scored twice; else the parts of
    the attempt that has saved the most events, the newest of several. Raises `WriteError`.
    """
    for one in sorted(_seen(earlier), key=lambda one: one.rank, reverse=True):
        with named(output):
            adopted = _adopt_whole(one, output) if one.is_whole else _adopt_parts(one, output)
        if adopted:
            log.info("%s: goes on after %s", output, one.output)
            return True
    return False


def _seen(outputs: list[Path]) -> Iterator[_Earlier]:
    for output in outputs:
        folder = PartsFolder(output)
        try:
            state = folder.load()
            saved_at = (folder.path / "state.json").stat().st_mtime if state else 0.0
        except (SettingsError, OSError) as error:
            log.warning("%s: its checkpoints are not used: %s", output, error)
            state, saved_at = None, 0.0
        is_whole = output.is_file()
        if is_whole or (state and state.parts):
            yield _Earlier(output, is_whole, state, saved_at)


def _adopt_whole(one: _Earlier, output: Path) -> bool:
    """Adopt a complete output with its report. The output comes last: it says that all is there."""
    try:
        if report_path(one.output).exists():
            _link(report_path(one.output), report_path(output))
        _copy_ledger(one.output, output)
        if one.state is not None and one.state.joined is not None:
            # its reader was killed after the rename: the state says which run wrote it
            folder = PartsFolder(output)
            folder.path.mkdir(exist_ok=True)
            folder.save(one.state)
        _link(one.output, output)
    except FileNotFoundError:  # removed meanwhile, by its own reader or the driver
        return False
    sync(output.parent)
    return True


def _adopt_parts(one: _Earlier, output: Path) -> bool:
    """Adopt the parts up to the first that is gone. The state comes last: it lists only these."""
    assert one.state is not None
    source, target = PartsFolder(one.output), PartsFolder(output)
    target.path.mkdir(exist_ok=True)
    parts: list[Part] = []
    for part in one.state.parts:
        try:
            _link(source.path / part.file, target.path / part.file)
        except FileNotFoundError:
            break
        parts.append(part)
    if not parts:
        return False
    sync(target.path)
    failed = [
        failure for failure in one.state.failed if any(part.holds(failure.entry) for part in parts)
    ]
    _copy_ledger(one.output, output)
    target.save(replace(one.state, parts=parts, failed=failed, joined=None))
    sync(output.parent)
    return True


def ledger_path(output: Path) -> Path:
    """Return the path of the ledger of an output, as `ScoringOptions.job` names it."""
    return output.with_name(f"{output.name}.ledger")


def _copy_ledger(source: Path, target: Path) -> None:
    """Copy the ledger, to which both attempts may still add events."""
    with suppress(FileNotFoundError):
        shutil.copyfile(ledger_path(source), ledger_path(target))


def _link(source: Path, target: Path) -> None:
    """Give a finished file a second name; copy it where the file system has no such links."""
    target.unlink(missing_ok=True)  # of an earlier attempt that could not be adopted after all
    try:
        os.link(source, target)
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    shutil.copyfile(source, target)
    sync(target)
