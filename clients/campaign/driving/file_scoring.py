"""The work of a driver that has files scored: what it asks for, and what an answer changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from ...flow.progress import Progress, rate_text
from ...flow.signals import uninterrupted
from ..file_request import FileReport, FileRequest
from ..inputs import Given
from ..records.catalogue import Catalogue
from ..records.lease import Lease
from ..records.rows import File, New, Unscored
from . import reports
from .loop import Answer
from .new_outputs import fitting_rows, new_rows
from .progression import Progression
from .publish import Publisher, attempted, sweep
from .task import CampaignStopped, Outcome, Task
from .watching import Watch

log = logging.getLogger(__name__)

MOST_NAMED = 20
"""Files whose failure a driver names; `ssnet campaign list --failed` names all."""


class FileScoring:
    """Has the files of a campaign scored; the `Work` of a `loop`.

    Every change of the catalogue, and every final name, comes after a look at the lease.
    """

    def __init__(
        self,
        task: Task,
        catalogue: Catalogue,
        lease: Lease,
        progress: Progress,
        after: Callable[[str], object] | None,
    ) -> None:
        self._task = task
        self._catalogue = catalogue
        self._settings = catalogue.settings
        self._options = catalogue.settings.options.as_dict()
        self._lease = lease
        self._progress = progress
        self._after = after or (lambda step: None)
        self._publisher = Publisher(task.folder, lease.stage, after=after)
        self._events = 0  # in outputs
        self._events_now = 0  # of these, those that were scored in this run
        self._began_at = time.monotonic()
        self._named = 0
        self._scored = 0
        self._watch = Watch(task.folder, self._settings) if self._settings.watch else None
        self.progression = Progression()

    # Before the first request.

    def prepare(self) -> None:
        """Finish what an earlier driver began, add the inputs, and count what is to be done."""
        self._progress.step("reading the catalogue")
        self._recover()
        if self._task.retry:
            self._retry()
        self._add(self._task.inputs)
        counts = self._catalogue.counts()
        self.progression = Progression(
            file_tries=self._settings.file_tries,
            max_failed=self._settings.options.max_failed,
            strict=self._settings.options.strict,
            done=counts.states.get("done", 0) + counts.states.get("repeated", 0),
            failed=counts.states.get("failed", 0),
        )
        waiting = self._catalogue.rows(
            "SELECT number FROM files WHERE state = 'waiting' ORDER BY tries > 0, number"
        )
        self.progression.add(number for (number,) in waiting)
        self._sweep_done()
        self._events = self._entries()
        self._began_at = time.monotonic()
        self._begin(counts.files, counts.states.get("changed", 0))

    def _begin(self, total: int, changed: int) -> None:
        files = self.progression
        text = f"{total} files of {self._task.folder}"
        if files.done or files.failed:
            text += f", {files.done} of them done and {files.failed} failed earlier"
        if changed:
            text += f", {changed} changed since (`ssnet campaign retry` scores them again)"
        over = files.done + files.failed
        self._progress.begin(text, done=over, total=self._total, failed=files.failed)

    def _recover(self) -> None:
        files = list(self._catalogue.files("publishing"))
        if not files:
            return
        ledger = self._settings.options.ledger
        staged = (reports.staged_earlier(file, ledger=ledger) for file in files)
        unnamed = self._publisher.recover(staged)
        self._lease.check()
        missing = unnamed.numbers
        self._catalogue.done([file.number for file in files if file.number not in missing])
        self._refuse(unnamed.refused)
        if missing:
            lost = "its output was lost before it had its name"
            self._catalogue.set_state(unnamed.lost, "waiting", lost)
            self._catalogue.set_state(self._catalogue.orphans(), "waiting")

    def _sweep_done(self) -> None:
        """Remove the attempts at files that are over; those of others hold checkpoints."""
        for number in attempted(self._task.folder):
            try:
                state = self._catalogue.file(number).state
            except KeyError:
                continue
            if state in ("done", "repeated"):
                sweep(self._task.folder, [number])

    def _retry(self) -> None:
        """Let failed and changed files wait again, with the size and time that they have now.

        So do files whose output a check has found gone, changed or wrong. These outputs go.
        """
        wrong = self._catalogue.rows(
            "SELECT number FROM files WHERE state = 'done' AND \"check\" LIKE 'output%'"
        )
        again = [*self._catalogue.files("failed"), *self._catalogue.files("changed")]
        again += [self._catalogue.file(number) for (number,) in wrong]
        self._lease.check()
        # a file may fail now, or have the content of another: then nothing would replace its output
        self._publisher.withdraw((one.number, one.output) for one in again if one.state != "failed")
        self._catalogue.set_state([file.number for file in again], "waiting")
        self._catalogue.add([_as_now(file) for file in again])
        self._catalogue.set_state(self._catalogue.orphans(), "waiting")

    def _add(self, inputs: Sequence[Given]) -> None:
        """Add those inputs to the catalogue that are new."""
        have = self._catalogue.numbers(str(given.path) for given in inputs)
        new = [given for given in inputs if str(given.path) not in have]
        if not new:
            return
        rows = new_rows(
            new,
            self._settings.name,
            self._task.folder,
            force=self._task.force,
            catalogue=self._catalogue,
        )
        self._lease.check()
        self._catalogue.add(rows)

    # The work of the loop.

    def request(self, number: int) -> FileRequest:
        file = self._catalogue.file(number)
        return FileRequest(
            verb="score",
            number=number,
            path=file.path,
            bytes=file.bytes,
            mtime_ns=file.mtime_ns,
            folder=str(self._task.folder),
            name=file.output,
            options=self._options,
            scratch=self._settings.scratch,
            command=self._task.command,
        )

    def take(self, answers: list[Answer]) -> None:
        now, unix_now = time.monotonic(), time.time()
        good: list[FileReport] = []
        bad: list[Unscored] = []
        for number, answer in answers:
            verdict = reports.verdict(number, answer)
            further = self.progression.answered(verdict, now)
            if isinstance(answer, FileReport) and further == "publish":
                good.append(answer)
            else:
                again = further == "later"
                bad.append(reports.unscored(verdict, answer, again=again, now=unix_now))
        with uninterrupted():
            self._lease.check()
            self._take_bad(bad)
            self._publish(good)
        self._show()

    def turn(self, now: float) -> bool:
        if self._watch is None:
            return False
        if ready := self._watch.turn(now, self._catalogue):
            rows, troubles = fitting_rows(
                ready,
                self._settings.name,
                self._task.folder,
                force=self._task.force,
                catalogue=self._catalogue,
            )
            self._watch.warn(troubles)
            if rows:
                self._lease.check()
                self.progression.add(self._catalogue.add(rows))
                self._progress.say(f"{len(rows)} new files in {self._settings.watch}")
                self._show()
        return True

    # Answers.

    def _take_bad(self, bad: Sequence[Unscored]) -> None:
        if not bad:
            return
        self._catalogue.failed(bad)
        files = {one.number: self._catalogue.file(one.number) for one in bad}
        if changed := [_as_now(files[one.number]) for one in bad if one.kind == "changed"]:
            self._catalogue.add(changed)
        for one in bad:
            path = files[one.number].path
            about = one.reason.removeprefix(f"{path}: ")
            self._name(f"{path}: {about}", again=one.again)

    def _name(self, text: str, *, again: bool) -> None:
        self._named += 1
        if self._named <= MOST_NAMED:
            self._progress.say(f"failed{', tried again at the end' if again else ''}: {text}")
        elif self._named == MOST_NAMED + 1:
            listed = f"`ssnet campaign list {self._task.folder} --failed`"
            self._progress.say(f"further failures are not named here: {listed} names all")

    def _publish(self, good: Sequence[FileReport]) -> None:
        """Give the outputs of a batch their final names (the steps are those of `publish`)."""
        if not good:
            return
        files = {report.number: self._catalogue.file(report.number) for report in good}
        self._check_networks(good, files)
        fresh, repeats = self._split(good)
        self._catalogue.publishing([reports.scored(one, files[one.number]) for one in fresh])
        self._after("accept")
        unnamed = self._publisher.publish(reports.staged(one, files[one.number]) for one in fresh)
        self._lease.check()
        missing = unnamed.numbers
        finished = [one.number for one in fresh if one.number not in missing]
        self._catalogue.done(finished)
        alone = [one.number for one, other in repeats if other in missing]
        repeats = [(one, other) for one, other in repeats if other not in missing]
        if repeats:
            rows = [(reports.scored(one, files[one.number]), other) for one, other in repeats]
            self._catalogue.repeated(rows)
        self._after("commit")
        self._give_back(unnamed.lost)
        self._refuse(unnamed.refused)
        for number, why in unnamed.refused.items():
            self.progression.refused(number, why)
        for number in alone:  # no output has their content
            self.progression.returned(number, time.monotonic())
        over = [*finished, *(one.number for one, _ in repeats)]
        sweep(self._task.folder, over)
        self._after("sweep")
        self.progression.published(over)
        self._scored += len(finished)
        published = [one for one in fresh if one.number not in missing]
        self._events += sum(one.entries for one in published)
        self._events_now += sum(one.events for one in published)
        for one, other in repeats:
            same = self._catalogue.file(other).path
            self._progress.say(f"{files[one.number].path} has the content of {same}: scored once")

    def _give_back(self, lost: Collection[int]) -> None:
        """Let files wait again whose output is not where their reader put it."""
        if not lost:
            return
        self._catalogue.set_state(lost, "waiting", "its output was not where its reader put it")
        for number in lost:
            path = self._catalogue.file(number).path
            log.warning("the output of %s is not where its reader put it: scored again", path)
            self.progression.returned(number, time.monotonic())

    def _refuse(self, refused: Mapping[int, str]) -> None:
        """Let files fail whose outputs cannot have their names."""
        if not refused:
            return
        now = time.time()
        self._catalogue.failed(
            [
                Unscored(number=number, kind="write", reason=why, ended_at=now)
                for number, why in refused.items()
            ]
        )
        for number, why in refused.items():
            self._name(f"{self._catalogue.file(number).path}: {why}", again=False)

    def _check_networks(self, good: Sequence[FileReport], files: dict[int, File]) -> None:
        """Raise `CampaignStopped` before an output of other networks gets its name."""
        want = dict(self._catalogue.networks)
        count = len(want)
        for report in good:
            # a plane without crops has not asked its network
            got = {str(plane): origin for plane, origin in report.networks.items()}
            if different := reports.first_difference(want, got):
                raise CampaignStopped(
                    f"other networks answer than those of the earlier outputs ({different}), first"
                    f" for {files[report.number].path}, which is not taken: start workers with the"
                    " earlier networks and type the same command, or score all files into another"
                    " folder"
                )
            want |= got
        if len(want) > count:
            self._catalogue.set_networks(want)

    def _split(
        self, good: Sequence[FileReport]
    ) -> tuple[list[FileReport], list[tuple[FileReport, int]]]:
        """Return the files with new content, and those whose content another file has."""
        if self._settings.options.repeat_inputs:
            return list(good), []
        fresh: list[FileReport] = []
        repeats: list[tuple[FileReport, int]] = []
        here: dict[tuple[str, int], int] = {}
        for report in good:
            content = (report.input_sha256, report.input_bytes)
            same = self._catalogue.same_content(*content)
            other = same.number if same and same.number != report.number else here.get(content)
            if other is None:
                here[content] = report.number
                fresh.append(report)
            else:
                repeats.append((report, other))
        return fresh, repeats

    # What is shown.

    @property
    def _total(self) -> int:
        return self.progression.done + self.progression.failed + self.progression.left

    def _show(self) -> None:
        files = self.progression
        minutes = max(time.monotonic() - self._began_at, 1e-9) / 60
        rate = rate_text(self._events_now / minutes)
        self._progress.note(f"{self._events} events, {rate} events a minute")
        self._progress(files.done + files.failed, self._total, files.failed)

    def _entries(self) -> int:
        """Return how many events the outputs have; some were scored by earlier attempts."""
        ((entries,),) = self._catalogue.rows(
            "SELECT total(entries) FROM files WHERE state = 'done'"
        )
        return int(entries)

    def outcome(self) -> Outcome:
        counts = self._catalogue.counts()
        return Outcome(
            files=counts.files,
            done=counts.states.get("done", 0),
            repeated=counts.states.get("repeated", 0),
            failed=counts.states.get("failed", 0),
            changed=counts.states.get("changed", 0),
            left=counts.left,
            events=self._entries(),
            failed_events=counts.failed_events,
            scored=self._scored,
            cancelled=self.progression.draining and not self.progression.stopped,
        )


def _as_now(file: File) -> New:
    """Return a file with its size and time of now; as before if it is not there."""
    try:
        stat = Path(file.path).stat()
    except OSError:
        return New(file.path, file.bytes, file.mtime_ns, file.output)
    return New(file.path, stat.st_size, stat.st_mtime_ns, file.output)
