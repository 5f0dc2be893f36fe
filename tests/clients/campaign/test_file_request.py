"""Requests and reports about files: packed, read again, and refused if they are malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clients.campaign.file_request import FileReport, FileRequest, is_inside
from mdp import Refused


def request(**more: Any) -> FileRequest:
    values: dict[str, Any] = {
        "verb": "score",
        "number": 17,
        "path": "/data/a.root",
        "bytes": 1000,
        "mtime_ns": 1_700_000_000_123_456_789,
        "folder": "/out",
        "name": "july/a_ssnet.root",
        "options": {"planes": [0, 1, 2]},
        "command": ("ssnet", "campaign", "start"),
    }
    return FileRequest(**{**values, **more})


def report(**more: Any) -> FileReport:
    values: dict[str, Any] = {
        "number": 17,
        "ok": True,
        "token": "0a1b",
        "staged": "17/0a1b/a_ssnet.root",
        "networks": {0: {"engine": "caffe"}, 2: {"engine": "caffe"}},
        "stages": {"read": 0.5},
    }
    return FileReport(**{**values, **more})


def test_a_request_is_read_as_it_was_packed() -> None:
    for one in (request(), request(path="/data/\udcff.root", verb="check")):
        assert FileRequest.unpack(one.pack()) == one


def test_a_report_is_read_as_it_was_packed() -> None:
    for one in (report(), FileReport(number=3, ok=False, kind="input", reason="want a ROOT file")):
        assert FileReport.unpack(one.pack()) == one


@pytest.mark.parametrize(
    "wrong",
    [
        {"verb": "remove"},
        {"number": -1},
        {"number": True},
        {"path": "a.root"},
        {"folder": "out"},
        {"name": "../a.root"},
        {"name": "/a.root"},
        {"name": ""},
        {"name": "a\0.root"},
        {"bytes": "many"},
        {"options": []},
    ],
)
def test_a_malformed_request_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        FileRequest.unpack(request(**wrong).pack())


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "bad luck"},
        {"staged": "17/../../etc/passwd"},
        {"ledger": "/etc/passwd"},
        {"failures": ["text"]},
        {"networks": {"U": {}}},
        {"seconds": "long"},
    ],
)
def test_a_malformed_report_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        FileReport.unpack(report(**wrong).pack())


def test_frames_of_others_are_refused() -> None:
    form, packed = request().pack()
    fields = json.loads(packed)
    lacking = {name: value for name, value in fields.items() if name != "name"}
    for frames in (
        [],
        [b"describe"],
        [form],
        [form, b"{"],
        [form, b"[]"],
        [form, json.dumps(lacking).encode()],
        [form, json.dumps({**fields, "more": 1}).encode()],
        report().pack(),
    ):
        with pytest.raises(Refused):
            FileRequest.unpack(frames)


def test_a_path_inside_a_folder() -> None:
    assert all(map(is_inside, ("a", "a/b.root", "..a")))
    assert not any(map(is_inside, ("", "/a", "a//b", "a/..", "./a", "a/")))
