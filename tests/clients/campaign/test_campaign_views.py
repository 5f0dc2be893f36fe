"""Status, list and page of campaigns whose history is written to the catalogue."""

from __future__ import annotations

import io
import json
import os
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from clients.campaign.plan import CampaignSettings
from clients.campaign.records.catalogue import Catalogue
from clients.campaign.records.lease import Driver, Lease
from clients.campaign.records.reading import reading
from clients.campaign.records.rows import New, NoCampaign
from clients.campaign.views import file_list, standing_tables
from clients.campaign.views.observing import Look, Observer
from clients.campaign.views.page import report_making
from clients.campaign.views.page.markup import element, figure, visible, with_code
from lartpc import FileExists
from tests.support.made_campaigns import ILL, SLOW, Made, make, note

ODD = '<script>alert("{}")</script> a\u202eb\udcff.root'
"""A name with markup, with a character that turns the text, and with a byte that is not UTF-8."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A campaign that goes on; read only."""
    folder = tmp_path_factory.mktemp("july")
    return make(folder, files=2000, done=0.9, ends_at=time.time() - 5, name="run{:06d}.root")


def line(look: Look, heading: str) -> str:
    return dict(standing_tables.lines(look, str))[heading]


# Status.


def test_the_status_counts_files_events_and_failures(made: Made) -> None:
    look = Observer(made.folder).look()
    standing = look.standing
    assert (standing.of().files, standing.of("waiting").files) == (2000, 200)
    assert standing.of("failed").files == made.failed > 0
    assert standing.of("done").files == 1800 - made.failed
    with reading(made.folder) as catalogue:
        files = list(catalogue.files("done"))
    assert standing.scored.events == sum(file.entries for file in files)
    assert standing.scored.failed_events == sum(file.failed_events for file in files) > 0
    # a file of 100 events each 8 s: 7.5 files a minute
    assert 60 * standing.whole.files_per_s == pytest.approx(7.5, rel=0.05)
    assert 60 * standing.recent.files_per_s == pytest.approx(6.5, rel=0.25)
    assert standing.left_s == pytest.approx(200 * 8, rel=0.25)
    assert {suspect.host for suspect in standing.suspects} == {ILL, SLOW}
    assert standing.suspects[0].host == ILL


def test_the_status_of_an_undriven_campaign_says_what_to_type(made: Made) -> None:
    look = Observer(made.folder).look()
    assert look.limit.who == "driver"
    assert line(look, "driver").startswith("nobody")
    assert f"ssnet campaign start -o {made.folder.resolve()}" in line(look, "driver")
    assert f"{made.failed} failed" in line(look, "files")


def test_json_has_what_the_tables_have(made: Made) -> None:
    values = json.loads(json.dumps(standing_tables.as_json(Observer(made.folder).look())))
    assert values["files"]["failed"] == made.failed
    assert values["worst_hosts"][0]["host"] == ILL
    assert values["rate"]["whole"]["events_per_s"] > 1
    assert values["complete"] is False


def test_the_readers_are_shown_with_their_files(tmp_path: Path) -> None:
    make(tmp_path, files=10, done=0.5)
    now = time.time()
    note(tmp_path, 7, done=30, total=120, step="scoring", began_at=now - 60, waited_s=30)
    note(tmp_path, 8, host="n2", step="opening")
    note(tmp_path, 1, done=1, total=2)  # scored already: its folder goes in a moment
    (tmp_path / ".campaign" / "work" / "9" / "odd").mkdir(parents=True)
    (tmp_path / ".campaign" / "work" / "9" / "odd" / "progress.json").write_text("[1")
    seven, eight = Observer(tmp_path).look().standing.running
    assert (seven.number, seven.done, seven.total) == (7, 30, 120)
    assert seven.path.endswith("run000006.root")
    assert seven.waited == pytest.approx(0.5, abs=0.1)
    assert (eight.host, eight.step, eight.share) == ("n2", "opening", 0.0)


def test_a_note_of_a_reader_that_is_gone_is_not_shown(tmp_path: Path) -> None:
    make(tmp_path, files=10, done=0.5)
    note(tmp_path, 7, done=30, total=120)
    (path,) = tmp_path.glob(".campaign/work/7/*/progress.json")
    os.utime(path, (1e9, 1e9))
    assert Observer(tmp_path).look().standing.running == []


def test_a_driven_campaign_names_its_driver_and_a_broker_that_is_silent(tmp_path: Path) -> None:
    make(tmp_path, files=10, done=0.5)
    with Lease(tmp_path) as lease:
        lease.renew({"broker": "tcp://127.0.0.1:9", "in_flight": 2})
        look = Observer(tmp_path).look()
    assert look.is_driven
    assert str(os.getpid()) in line(look, "driver")
    assert (look.limit.who, "tcp://127.0.0.1:9" in look.limit.text) == ("broker", True)


def test_a_complete_campaign_has_no_limit(tmp_path: Path) -> None:
    make(tmp_path, files=10)
    look = Observer(tmp_path).look()
    assert look.standing.is_complete
    assert "limit" not in dict(standing_tables.lines(look, str))
    assert line(look, "driver") == "nobody"


def test_an_empty_campaign_has_a_status_and_a_page(tmp_path: Path) -> None:
    with Catalogue.create_or_open(tmp_path, CampaignSettings(), 1) as catalogue:
        catalogue.add([New("/data/a.root", 0, 1, "a.root")])
    look = Observer(tmp_path).look()
    assert look.standing.left_s is None
    assert "not known" in line(look, "to go")
    assert "</html>" in report_making.make(tmp_path)


def test_a_folder_without_a_campaign_is_one_line(tmp_path: Path) -> None:
    for look in (Observer(tmp_path).look, lambda: report_making.make(tmp_path)):
        with pytest.raises(NoCampaign):
            look()


# List.


def listed(folder: Path, **more: str | bool | None) -> list[str]:
    out = io.StringIO()
    file_list.write(folder, out, **({"state": None, "json": False} | more))  # type: ignore[arg-type]
    return out.getvalue().splitlines()


def test_the_list_has_a_row_for_each_file_and_names_are_whole(tmp_path: Path) -> None:
    make(tmp_path, files=30, name="x" * 200 + "{}.root")
    head, *rows = listed(tmp_path)
    assert head.split("\t")[-2:] == ["file", "reason"]
    assert len(rows) == 30
    assert rows[3].split("\t")[-2].endswith("x" * 200 + "3.root")


def test_the_list_of_failed_files_has_their_reasons(made: Made) -> None:
    rows = [row.split("\t") for row in listed(made.folder, state="failed")[1:]]
    assert len(rows) == made.failed
    assert {row[1] for row in rows} == {"failed"}
    assert all(row[-1] for row in rows)
    assert json.loads(listed(made.folder, state="failed", json=True)[0])["kind"]


def test_names_that_move_the_cursor_are_escaped(tmp_path: Path) -> None:
    make(tmp_path, files=1, name="a\tb\x1b[2J{}.root")
    (row,) = listed(tmp_path)[1:]
    assert len(row.split("\t")) == 9
    assert "\x1b" not in row
    assert json.loads(listed(tmp_path, json=True)[0])["path"].endswith("a\tb\x1b[2J0.root")


def test_columns_are_aligned_on_a_terminal(tmp_path: Path) -> None:
    make(tmp_path, files=12)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    file_list.write(tmp_path, out, state=None, json=False)
    rows = out.getvalue().splitlines()
    assert len({row.find("/data/") for row in rows[1:]}) == 1


# The page.

VOID = {"meta", "img"}


class Checked(HTMLParser):
    """Whether each element is closed; which anchors and links there are; what is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.names.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.anchors.add(values["id"])
        self.loaded += [values[name] for name in ("src", "srcset", "data") if name in values]
        if "href" in values:
            self.links.add(values["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(made: Made) -> None:
    text = report_making.make(made.folder, draws=False)
    page = Checked(text)
    assert page.links == {f"#{anchor}" for anchor in page.anchors}
    assert page.loaded == []
    assert {"url(", "@import", "<script", "http"} & set(text.split("<body>")[0].split()) == set()
    assert "script" not in page.names


def test_the_page_names_the_worst_host_before_all_others(made: Made) -> None:
    text = report_making.make(made.folder, draws=False)
    look = text[text.index('id="look"') : text.index('id="files"')]
    assert f"<b>{ILL}</b> fails" in look
    assert f"<b>{SLOW}</b> takes" in look
    hosts = text[text.index('id="hosts"') : text.index('id="failed"')]
    assert 0 < hosts.index(f"⚠ {ILL}") < hosts.index("n12")
    reasons = text[text.index('id="reasons"') : text.index('id="hosts"')]
    assert "cannot write FILE: no space left (N % used)" in reasons
    assert reasons.count("no space left") <= 2  # one kind: of the files, and of the tries


def test_names_are_escaped_in_the_page(tmp_path: Path) -> None:
    made = make(tmp_path, files=1000, name=ODD, seed=3)
    assert made.failed
    text = report_making.make(tmp_path, draws=False)
    page = Checked(text)
    assert "script" not in page.names
    assert "\u202e" not in text
    assert "\\u202eb\\udcff.root" in text


def test_a_page_is_replaced_but_no_other_file(tmp_path: Path) -> None:
    make(tmp_path, files=5)
    path = tmp_path / "page.html"
    report_making.write(tmp_path, path, draws=False)
    report_making.write(tmp_path, path, draws=False)
    path.write_text("<html>my notes</html>")
    with pytest.raises(FileExists):
        report_making.write(tmp_path, path, draws=False)
    report_making.write(tmp_path, path, draws=False, replaces=True)
    assert "</html>" in path.read_text()


def test_outputs_that_cannot_be_drawn_are_named_with_the_reason(tmp_path: Path) -> None:
    make(tmp_path, files=5)
    text = report_making.make(tmp_path)
    assert "No picture" in text
    assert "out0.root" in text
    Checked(text)


def test_markup_is_escaped_unless_it_is_ours() -> None:
    assert element("b", "<i>", class_='a"b') == '<b class="a&quot;b">&lt;i&gt;</b>'
    assert element("p", element("b", "x"), title=None) == "<p><b>x</b></p>"
    assert with_code("type `a < b`, then") == "type <code>a &lt; b</code>, then"
    assert visible("a\nb\u202e") == "a\\nb\\u202e"
    assert [figure(value) for value in (0.03124, 3.14159, 312.4, 12345.6)] == [
        *("0.0312", "3.14", "312", "12,346")
    ]


def test_what_a_check_found_is_in_the_status_the_list_and_the_page(tmp_path: Path) -> None:
    make(tmp_path, files=5)
    with Catalogue.create_or_open(tmp_path, None, 1) as catalogue:
        catalogue.checked({1: "ok", 2: "output changed: 7 bytes, not 9"})
    look = Observer(tmp_path).look()
    assert "1 wrong in a check" in line(look, "files")
    assert look.standing.has_failures
    assert "check: output changed" in listed(tmp_path)[2]
    text = report_making.make(tmp_path, draws=False)
    assert "1 file wrong" in text
    assert "output changed: 7 bytes, not 9" in text


AGAIN = "`ssnet campaign start -o /d/july`"


@pytest.mark.parametrize(
    ("silent_s", "fields", "starts", "has", "lacks"),
    [
        (1, {}, "process 812 on n7 (user x) since 100", "", "no sign"),
        (40, {}, "process 812", "no sign for 4", "takes over"),
        (300, {}, "process 812", f"{AGAIN} takes over", "nobody"),
        (1, {"started_at": 0.0}, "process 812 on n7 (user x)", "", "since"),
        (1, {"alive": False}, "nobody", "is gone", "ended"),
        (1, {"alive": False, "released": True}, "nobody", "ended at", "is gone"),
    ],
)
def test_the_driver_is_named_with_its_state(
    silent_s: float, fields: dict[str, Any], starts: str, has: str, lacks: str
) -> None:
    values: dict[str, Any] = {"beat_at": time.time() - silent_s, "started_at": 100.0, **fields}
    driver = Driver(host="n7", pid=812, epoch=1, user="x", **values)
    text = standing_tables.driver_line(driver, "/d/july", is_complete=False, time="{:.0f}".format)
    assert text.startswith(starts)
    assert has in text
    assert lacks not in text
