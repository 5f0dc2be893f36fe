"""One page of HTML about a campaign, without anything that is loaded from elsewhere. Pure.

What is worst comes first, each with its share, not only with its count: a host that fails 40 % of
ten files is worse than one that fails 1 % of a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mdp.settings import short_text

from ..host_sums import percent
from . import report_charts, report_sections
from .markup import Html, count, element, figure, joined, plural, with_code
from .page_style import STYLE
from .report_contents import Report
from .report_sections import path

GENERATOR = "ssnet campaign report"
"""The mark in the head of each page."""
TimeText = Callable[[float], str]
Section = tuple[str, str, Html]
"""Its anchor, its title, and what it holds."""


def page(report: Report, time_text: TimeText) -> str:
    """Return the page. time_text: formats a Unix time for people."""
    sections = list(_sections(report, time_text))
    links = [element("li", element("a", title, href=f"#{anchor}")) for anchor, title, _ in sections]
    contents = element("nav", element("b", "On this page"), element("ul", *links))
    body = element(
        "div",
        _head(report, time_text),
        _tiles(report),
        contents,
        *(
            element("section", element("h2", title, id=anchor), content)
            for anchor, title, content in sections
        ),
        _foot(report, time_text),
        class_="page",
    )
    head = joined(
        (
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width,initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            Html(f'<meta name="generator" content="{GENERATOR}">'),
            element("title", f"Campaign {report.name}"),
            Html(f"<style>{STYLE}</style>"),
        )
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _sections(report: Report, time_text: TimeText) -> Iterator[Section]:
    yield "look", "What to look at first", _look(report)
    yield "files", "Files by state", report_sections.files(report)
    yield "rates", "Rates over time", report_charts.rates(report.rates, time_text)
    yield "reasons", "Failures by reason", report_sections.reasons(report)
    yield "hosts", "Hosts", report_sections.hosts(report)
    yield "failed", "Files that failed or lost events", report_sections.failed_files(report)
    yield "slow", "Slowest files", report_sections.slow(report)
    yield "events", "Failed events", report_sections.events(report)
    if report.pictures:
        yield "displays", "Event displays", report_sections.pictures(report)
    yield "settings", "Settings, networks, software", report_sections.settings(report, time_text)


# The head.


def _status(report: Report) -> tuple[str, str]:
    standing = report.standing
    if standing.is_complete and standing.has_failures:
        return "complete, with failures", "failed"
    if standing.is_complete:
        return "complete", "done"
    return (
        ("going on", "going") if report.is_driven else ("not finished, nobody drives it", "failed")
    )


def _head(report: Report, time_text: TimeText) -> Html:
    status, kind = _status(report)
    where_and_when = f"{report.folder} · as of {time_text(report.standing.now)}"
    return element(
        "header",
        element("h1", f"Campaign {report.name}"),
        element("span", status, class_=f"chip {kind}"),
        element("span", where_and_when, class_="dim path"),
        element("p", with_code(report.driven_by)),
    )


def _tiles(report: Report) -> Html:
    standing = report.standing
    done, every = standing.of("done", "changed"), standing.scored
    share = done.files / standing.to_score if standing.to_score else 0.0
    lost = every.failed_events / every.events if every.events else 0.0
    failed = standing.of("failed").files
    tiles = [
        (count(done.files), f"of {plural(standing.to_score, 'file')} scored, {percent(share)}"),
        (
            count(failed),
            f"{'file' if failed == 1 else 'files'} failed, "
            f"{percent(failed / standing.to_score if standing.to_score else 0.0)}",
        ),
        (count(every.events), "events in the outputs"),
        (count(every.failed_events), f"of them failed, {percent(lost)}"),
        (figure(standing.whole.events_per_s * 60), "events a minute, over the whole time"),
        (short_text(standing.whole.over_s), "of work"),
    ]
    if not standing.is_complete:
        left = "?" if standing.left_s is None else short_text(standing.left_s)
        when = "of the last ten minutes" if report.is_driven else "of the whole time"
        tiles.append((left, f"to go, at the rate {when}"))
    boxes = [
        element("div", element("b", big), element("span", small), class_="tile")
        for big, small in tiles
    ]
    return element("div", *boxes, class_="tiles")


# What to look at.


def _look(report: Report) -> Html:
    items = list(_findings(report))
    if not items:
        text = (
            "Nothing stands out: no file and no event failed, and no host is worse than the others."
        )
        return element("div", text, class_="look fine")
    return element("div", element("ul", *(element("li", item) for item in items)), class_="look")


def _findings(report: Report) -> Iterator[Html]:
    standing = report.standing
    for suspect in standing.suspects[:5]:
        yield joined((_link("hosts", "Host "), element("b", suspect.host), f" {suspect.why}."))
    for worker_host in report.worker_hosts.rows[:1]:
        if worker_host.share >= 0.5 and worker_host.events >= 10 and worker_host.host:
            of_all = percent(worker_host.share)
            text = f" had {of_all} of all failed events ({count(worker_host.events)})."
            yield joined(
                (_link("hosts", "Workers on "), element("b", worker_host.host), text),
            )
    if report.failed_files.total:
        first = report.reasons.rows[0] if report.reasons.rows else None
        often = f" Most often ({count(first.count)}): {first.text}" if first else ""
        files = f"{plural(report.failed_files.total, 'file')} failed."
        yield joined((_link("failed", files), often))
    if report.lossy_files.total:
        worst = report.lossy_files.rows[0]
        share = worst.failed_events / worst.events if worst.events else 1.0
        files = f"{plural(report.lossy_files.total, 'scored file')} lost events."
        text = (
            f" The worst lost {count(worst.failed_events)} of {plural(worst.events, 'event')}"
            f" ({percent(share)}): "
        )
        yield joined((_link("failed", files), text, path(worst.path)))
    if report.changed_files.total:
        number = plural(report.changed_files.total, "input")
        yield joined(
            (
                _link("failed", f"{number} changed after being scored"),
                ": ",
                element("code", "ssnet campaign retry DIR"),
                " scores again what changed.",
            )
        )
    if report.wrong_files.total:
        number = plural(report.wrong_files.total, "file")
        wrong = report.wrong_files.rows[0]
        text = f" in a check. The first: {wrong.reason}: "
        yield joined((_link("failed", f"{number} wrong"), text, path(wrong.path)))
    if report.pace.slow.rows:
        slow = report.pace.slow.rows[0]
        if slow.times >= 2:
            text = f" took {figure(slow.times)} times the median for an event: "
            yield joined((_link("slow", "The slowest file"), text, path(slow.file.path)))
    for trouble in report.troubles:
        yield joined((trouble,))


def _link(anchor: str, text: str) -> Html:
    return element("a", text, href=f"#{anchor}")


def _foot(report: Report, time_text: TimeText) -> Html:
    text = f"Made {time_text(report.made_at)} by {report.made_by} with {report.software}: "
    return element("footer", text, element("code", "ssnet campaign report"), ".")
