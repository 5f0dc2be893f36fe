"""The sections of a campaign's page, each a function of the report. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mdp.settings import short_text

from ..host_sums import HostSums, percent
from ..reasons import without_path
from ..standing import WorstFile
from . import report_charts
from .markup import Column, Html, count, element, figure, joined, plural, table
from .report_contents import Picture, Report
from .report_figures import Part, ReasonRow

TimeText = Callable[[float], str]


def path(text: str) -> Html:
    return element("span", text, class_="path")


# Files, reasons, hosts.


def files(report: Report) -> Html:
    bar = report_charts.states(report.standing.by_state)
    rows = [
        (state, count(sums.files), count(sums.events), count(sums.failed_events), _size(sums.bytes))
        for state in report_charts.MEANING
        if (sums := report.standing.by_state.get(state)) and sums.files
    ]
    columns = (
        Column("state"),
        *(
            Column(name, True)
            for name in ("files", "events", "failed events", "size of the inputs")
        ),
    )
    return joined((bar, table(columns, rows, title="")))


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{figure(size)} {unit}"
        size /= 1000
    return f"{figure(size)} TB"


def reasons(report: Report) -> Html:
    parts = [
        _reason_table(report.reasons, "Files that failed", "files", of=report.standing.to_score),
        _reason_table(report.event_reasons, "Events that failed", "events and planes"),
        _reason_table(
            report.try_reasons, "Tries that failed, of files that were not given up", "tries"
        ),
    ]
    shown = [part for part in parts if part]
    return joined(shown) if shown else element("p", "Nothing failed.", class_="dim")


def _reason_table(part: Part[ReasonRow], title: str, unit: str, *, of: int = 0) -> Html | None:
    if not part.rows:
        return None
    has_planes = any(row.planes for row in part.rows)
    columns = [Column(unit, True), Column("reason"), Column("hosts"), Column("for example")]
    if of:
        columns.insert(1, Column("of all files", True))
    if has_planes:
        columns.insert(-2, Column("planes"))
    rows = []
    for row in part.rows:
        cells: list[object] = [count(row.count)]
        cells += [percent(row.count / of)] if of else []
        cells.append(row.text)
        if has_planes:
            cells.append(", ".join(str(plane) for plane in sorted(row.planes)))
        cells += [_some_hosts(row), joined(_lines(row.examples[:1]))]
        rows.append(cells)
    head = "Numbers and names that differ within a row are N, FILE and ID."
    return joined((element("h3", title), table(columns, rows, title=head), _more(part, "kind", "")))


def _some_hosts(row: ReasonRow) -> str:
    named = [(host or "unknown", number) for host, number in row.hosts.most_common(3)]
    text = ", ".join(f"{host} ({count(number)})" for host, number in named)
    left = len(row.hosts) - len(named)
    return f"{text} and {left} more" if left else text


def _lines(paths: Sequence[str]) -> Iterator[Html]:
    for one in paths:
        yield path(one)


def _more(part: Part[Any], noun: str, command: str) -> Html | str:
    if part.more <= 0:
        return ""
    text = f"and {plural(part.more, noun)} more"
    return element("p", text, f": {command}" if command else "", class_="dim")


def hosts(report: Report) -> Html:
    if not report.hosts.rows:
        return element("p", "No file has been tried yet.", class_="dim")
    why = {suspect.host: suspect.why for suspect in report.standing.suspects}
    columns = [
        Column("host"),
        Column("tries that failed", True),
        Column("number", True),
        Column("tries of bad files", True),
        Column("tries that scored", True),
        Column("events", True),
        Column("events that failed", True),
        Column("time of an event (1: the median)", True),
    ]
    columns += [Column("why it stands out")] if why else []
    rows = [_host(host, report.pace.median_s, why) for host in report.hosts.rows]
    title = (
        "Hosts of the readers: those that stand out first, then by the share of the tries that"
        " failed. Tries of bad files do not count against a host. The median is that of all files."
    )
    parts: list[object] = [table(columns, rows, title=title), _more(report.hosts, "host", "")]
    if report.worker_hosts.rows:
        parts += [element("h3", "Hosts of the workers that failed events"), _workers(report)]
    return joined(parts)


def _host(host: HostSums, median_s: float, why: Mapping[str, str]) -> list[object]:
    name = host.host or "unknown"
    fair = host.tries - host.bad_files
    lost = host.failed_events / host.events if host.events else 0.0
    cells: list[object] = [
        element("b", f"⚠ {name}", class_="bad") if host.host in why else name,
        _share(host.share) if fair else "-",
        f"{count(host.failed)} of {count(fair)}",
        count(host.bad_files) if host.bad_files else "",
        count(host.done),
        count(host.events),
        _share(lost) if host.events else "-",
        f"{host.event_s / median_s:.2f}" if host.event_s and median_s else "-",
    ]
    return [*cells, why.get(host.host, "")] if why else cells


def _share(share: float) -> Html:
    return joined((percent(share), report_charts.share_bar(share)))


def _workers(report: Report) -> Html:
    rows = [
        (
            row.host,
            count(row.events),
            _share(row.share),
            count(row.files),
        )
        for row in report.worker_hosts.rows
    ]
    columns = (
        Column("host"),
        Column("failed events", True),
        Column("of all failed events", True),
        Column("in files", True),
    )
    title = (
        "How many events each host has scored is not recorded, so these are not shares of its own."
    )
    return joined((table(columns, rows, title=title), _more(report.worker_hosts, "host", "")))


# Files.


def failed_files(report: Report) -> Html:
    parts: list[object] = []
    lists = (
        ("Files that failed", report.failed_files, "ssnet campaign list DIR --failed"),
        (
            "Files that were scored, but lost events",
            report.lossy_files,
            "ssnet campaign list DIR --state done --json",
        ),
        (
            "Files that a check found wrong",
            report.wrong_files,
            "ssnet campaign list DIR",
        ),
        (
            "Inputs that changed after they were scored",
            report.changed_files,
            "ssnet campaign list DIR --state changed",
        ),
    )
    for title, part, command in lists:
        if part.rows:
            parts += [
                element("h3", title),
                _file_table(part, lost=part is report.lossy_files),
                _more(part, "file", command),
            ]
    return joined(parts) if parts else element("p", "No file failed.", class_="dim")


def _file_table(part: Part[WorstFile], *, lost: bool) -> Html:
    if lost:
        columns = [
            Column("events that failed", True),
            Column("number", True),
            Column("host"),
            Column("file"),
        ]
        rows = [
            (
                percent(row.failed_events / row.events if row.events else 1.0),
                f"{count(row.failed_events)} of {count(row.events)}",
                row.host,
                path(row.path),
            )
            for row in part.rows
        ]
        return table(columns, rows, title="The file that lost the largest share first.")
    columns = [Column("tries", True), Column("host"), Column("file"), Column("reason")]
    shown = [
        (count(row.tries), row.host, path(row.path), without_path(row.reason, row.path))
        for row in part.rows
    ]
    return table(columns, shown, title="")


def slow(report: Report) -> Html:
    pace = report.pace
    if not pace.median_s:
        return element("p", "No file has been scored yet.", class_="dim")
    text = (
        f"An event takes {figure(pace.median_s)} s (the median of all files); one file of ten needs"
        f" less than {figure(pace.tenth_s)} s, and one of ten more than {figure(pace.ninth_s)} s."
    )
    rows = [
        (
            figure(slow.times),
            f"{figure(slow.event_s)} s",
            short_text(slow.file.seconds),
            count(slow.file.events),
            slow.file.host,
            path(slow.file.path),
        )
        for slow in pace.slow.rows
    ]
    if not rows:
        return element("p", f"{text} No file is much slower than the median.")
    columns = (
        Column("times the median", True),
        Column("for an event", True),
        Column("for the file", True),
        Column("events", True),
        Column("host"),
        Column("file"),
    )
    more = _more(pace.slow, "file", "")
    title = "Files by the time for an event, the slowest first."
    return joined((element("p", text), table(columns, rows, title=title), more))


def events(report: Report) -> Html:
    if not report.failed_events.rows:
        return element("p", "No event failed.", class_="dim")
    rows = [
        (
            path(one.path),
            count(one.entry),
            f"{one.run}, {one.subrun}, {one.event}",
            "" if one.plane is None else str(one.plane),
            str(one.code),
            one.host,
            one.reason,
        )
        for one in report.failed_events.rows
    ]
    columns = (
        Column("file"),
        Column("entry", True),
        Column("run, subrun, event"),
        Column("plane", True),
        Column("code", True),
        Column("worker on"),
        Column("reason"),
    )
    more = _more(report.failed_events, "row", "OUTPUT.failed.json beside each output has all")
    return joined(
        (
            table(
                columns,
                rows,
                title="These events are empty in the outputs. At most five of one file are shown.",
            ),
            more,
        )
    )


# Pictures and settings.


def pictures(report: Report) -> Html:
    return element("div", *(_picture(one) for one in report.pictures), class_="pictures")


def _picture(one: Picture) -> Html:
    caption = element(
        "figcaption",
        element("b", one.title),
        f": {one.path}",
        f" ({one.caption})" if one.caption else "",
    )
    if not one.png:
        return element("figure", element("p", f"No picture: {one.trouble}"), caption)
    image = element(
        "img",
        src=f"data:image/png;base64,{one.png}",
        alt=f"Event display: {one.path}",
        width=one.width,
        height=one.height,
    )
    return element("figure", Html(image.removesuffix("</img>")), caption)


def settings(report: Report, time_text: TimeText) -> Html:
    pair = (Column("setting"), Column("value"))
    facts = [
        ("folder", path(report.folder)),
        ("began", time_text(report.began_at) if report.began_at else ""),
        ("page made", f"{time_text(report.made_at)} by {report.made_by}"),
        ("software", report.software),
    ]
    parts: list[object] = [
        element(
            "div",
            joined((element("h3", "This page"), table(pair, facts, title=""))),
        ),
    ]
    if report.networks:
        names = list(dict.fromkeys(name for one in report.networks for name in one))
        rows = [tuple(one.get(name, "") for name in names) for one in report.networks]
        parts.append(
            element(
                "div",
                element("h3", "Networks"),
                table([Column(name) for name in names], rows, title=""),
            )
        )
    if report.merged:
        rows_of = [(path(name), _size(size), count(files)) for name, size, files in report.merged]
        columns = (Column("merged file"), Column("size", True), Column("outputs in it", True))
        parts.append(
            element("div", element("h3", "Merged files"), table(columns, rows_of, title=""))
        )
    settings = element("div", element("h3", "Settings"), table(pair, report.settings, title=""))
    return element("div", settings, element("div", *parts), class_="pair")
