"""LArCV2's nested vectors: decoded as encoded, and damaged bytes refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lartpc import ReadError
from lartpc.files.root import vectors
from lartpc.files.root.columns import Layout

VOXEL = Layout(0x7A384FDA, (("_id", ">u8"), ("_value", ">f4")))
SHORT = Layout(0x11223344, (("_id", ">u2"), ("_value", ">f4")))
SET = Layout(0x123C507A, (("_id", ">u8"), ("_voxel_v", "vector<larcv::Voxel>")))
BOX = Layout(0x2C6C054D, (("_id", ">u2"), ("_p1", vectors.POINT), ("_p2", vectors.POINT)))
VERSIONS = [9, 10, 300]  # of ROOT's vectors: that of the ROOT which wrote the file

Raw = npt.NDArray[np.uint8]
Voxels = list[tuple[int, float]]


def block(version: int, checksum: int, body: bytes) -> bytes:
    head = struct.pack(">HHI", 0x4000 | version, 0, checksum)
    return struct.pack(">I", 0x40000000 | (len(head) + len(body))) + head + body


def raw(content: bytes) -> Raw:
    return np.frombuffer(content, np.uint8)


def packed(voxels: Voxels, layout: Layout = VOXEL) -> bytes:
    columns = zip(layout.members, zip(*voxels, strict=True), strict=True) if voxels else ()
    body = b"".join(np.array(column, kind).tobytes() for (_, kind), column in columns)
    return struct.pack(">I", len(voxels)) + body


def entry_of_voxels(several: Sequence[Voxels], layout: Layout, version: int) -> bytes:
    return block(version, layout.checksum, b"".join(packed(v, layout) for v in several))


def entry_of_sets(several: Sequence[Sequence[Voxels]], version: int) -> bytes:
    body = b""
    for sets in several:
        body += struct.pack(">I", len(sets)) + bytes(8 * len(sets))
        if sets:
            body += block(version, VOXEL.checksum, b"".join(map(packed, sets)))
    return block(version, SET.checksum, body)


def entry_of_boxes(several: Sequence[Sequence[tuple[int, float]]], version: int) -> bytes:
    body = b""
    for boxes in several:
        point = struct.pack(">IHI", 0x40000016, 0, 0x286E66E3)
        points = [point + struct.pack(">dd", x, -x) for _, x in boxes]
        ids = np.array([number for number, _ in boxes], ">u2").tobytes()
        body += struct.pack(">I", len(boxes)) + ids + b"".join(points) * 2
    return block(version, BOX.checksum, body)


def listed(columns: vectors.Columns) -> Voxels:
    return list(zip(columns["_id"].tolist(), columns["_value"].tolist(), strict=True))


voxels = st.lists(
    st.tuples(st.integers(0, 60000), st.floats(width=32, allow_nan=False)), max_size=4
)
versions = st.sampled_from(VERSIONS)


@given(st.lists(voxels, max_size=4), versions, st.sampled_from([VOXEL, SHORT]))
def test_voxels_are_decoded_with_the_dtypes_of_the_file(
    several: list[Voxels], version: int, layout: Layout
) -> None:
    got = vectors.objects(raw(entry_of_voxels(several, layout, version)), len(several), layout)
    assert [listed(one) for one in got] == several


@given(st.lists(st.lists(voxels, max_size=3), max_size=3), versions)
def test_sets_of_voxels_are_decoded(several: list[list[Voxels]], version: int) -> None:
    content = raw(entry_of_sets(several, version))
    got = vectors.nested_objects(content, len(several), SET, VOXEL)
    assert [[listed(one) for one in sets] for sets in got] == several


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 65535), st.floats(-9, 9)), max_size=3), max_size=3),
    versions,
)
def test_boxes_are_decoded(several: list[list[tuple[int, float]]], version: int) -> None:
    got = vectors.objects(raw(entry_of_boxes(several, version)), len(several), BOX)
    for boxes, columns in zip(several, got, strict=True):
        assert columns["_id"].tolist() == [number for number, _ in boxes]
        for member in ("_p1", "_p2"):
            assert columns[member].tolist() == [[x, -x] for _, x in boxes]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
    st.integers(0, 5),
)
def test_forged_bytes_are_refused_or_decoded_and_never_take_more_memory_than_they_are(
    changes: list[tuple[int, int]], length: int, count: int
) -> None:
    several: list[Voxels] = [[(5, 1.0), (6, 2.0)], [], [(7, 3.0)]]
    for content, layouts in (
        (entry_of_voxels(several, VOXEL, 10), (VOXEL,)),
        (entry_of_sets([several, [], several], 10), (SET, VOXEL)),
        (entry_of_boxes([[(0, 1.0)], [(1, 2.0), (2, 3.0)]], 10), (BOX,)),
    ):
        forged = bytearray(content[:length])
        for place, value in changes:
            forged[place % max(len(forged), 1) : place % max(len(forged), 1) + 1] = bytes([value])
        decode = vectors.objects if len(layouts) == 1 else vectors.nested_objects
        try:
            got = decode(raw(bytes(forged)), count, *layouts)
        except ReadError:
            continue
        flat = [one for item in got for one in (item if isinstance(item, list) else [item])]
        assert sum(column.nbytes for one in flat for column in one.values()) <= len(forged)


def test_a_count_that_does_not_fit_and_an_unknown_class_are_named() -> None:
    content = bytearray(entry_of_voxels([[(5, 1.0)]], VOXEL, 10))
    content[12:16] = struct.pack(">I", 1 << 31)
    with pytest.raises(ReadError, match=r"want .* bytes, got"):
        vectors.objects(raw(bytes(content)), 1, VOXEL)
    with pytest.raises(ReadError, match="want the class of checksum 7a384fda, got 11223344"):
        vectors.objects(raw(entry_of_voxels([], SHORT, 10)), 0, VOXEL)
    objectwise = bytearray(entry_of_voxels([], VOXEL, 10))
    objectwise[4:6] = struct.pack(">H", 10)
    with pytest.raises(ReadError, match="member-wise, got object-wise"):
        vectors.objects(raw(bytes(objectwise)), 0, VOXEL)
