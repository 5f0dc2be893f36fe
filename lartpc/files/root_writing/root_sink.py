"""One file of LArCV1 or LArCV2, written with ROOT. Runs in the writer process only."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError, ReadError, WriteError
from ...image import INVALID_INDEX, ROI, RSE, Event, Image, ImageMeta
from .. import provenance_texts
from ..formats import LARCV_NAMES, Format
from ..writer import OnPart, writing
from .copied import Copied, check_chosen
from .declared import new_event
from .plain_path import PlainPaths

COMPRESSION = 101  # zlib, level 1, as LArCV1 wrote it: a ROOT of that time can read it
MIN_BASKET_BYTES = 256 << 10  # small images share a basket
MAX_BASKET_BYTES = 256 << 20
_REGIONS: dict[Format, str] = {"larcv1": "partroi", "larcv2": "particle"}
"""The kind of product that holds regions of interest."""
_TREE = re.compile(r"[^_]+_.+_tree")
_USHORT_MAX = 65535
_SIZE_MAX = (1 << 64) - 1


class _Tree:
    """The tree of a product, and the event object that its branch reads."""

    def __init__(
        self, root: Any, file: Any, event: Any, kind: str, producer: str, basket_bytes: int
    ) -> None:
        self.producer = producer
        name = f"{kind}_{producer}"
        self.event = event
        self.tree = root.TTree(f"{name}_tree", f"{producer} tree", 99, file)
        self.tree.Branch(f"{name}_branch", self.event, 32000, 99)
        # otherwise ROOT makes baskets of 30 MB, which are decompressed whole to read one entry
        self.tree.SetAutoFlush(0)
        self.tree.SetAutoSave(0)  # an unfinished file is removed
        if kind == "image2d":
            # the default of 32 kB is doubled and copied again and again for a large event
            self.tree.SetBasketSize("*._img", basket_bytes)

    def fill(self, rse: RSE) -> None:
        self.event.set(self.producer, *rse)
        if self.tree.Fill() < 0:
            raise WriteError(f"ROOT could not fill {self.tree.GetName()}: is the disk full?")


class ROOTSink:
    """Writes events to `part`. The trees are created at the first event."""

    def __init__(
        self,
        root: Any,
        format: Format,
        part: Path,
        copied: Copied | None,
        images: Sequence[str],
        rois: Sequence[str],
        *,
        on_copy: Callable[[str], object],
    ) -> None:
        """`on_copy` is called with what is copied next, before ROOT copies it."""
        self._root = root
        self._format = format
        self._copied = copied
        self._on_copy = on_copy
        self._paths = PlainPaths()
        with _silent(self._root):
            file = self._root.TFile.Open(self._paths.of(part), "RECREATE", "", COMPRESSION)
        self._file = file
        self._entries = array("q")  # the input entry of every event written
        self._trees: dict[tuple[str, str], _Tree] = {}
        self._joined: set[str] = set()  # names of the products that `append` copied
        for producer in images:
            self._tree("image2d", producer, 0)
        for producer in rois:
            self._tree(_REGIONS[self._format], producer, 0)

    def write(self, event: Event, entry: int | None) -> None:
        _check(event, self._format)
        with _silent(self._root):
            for producer, images in event.images.items():
                self._write_images(producer, images, event.rse)
            for producer, rois in event.rois.items():
                self._write_rois(producer, rois, event.rse)
        self._check_disk()
        if entry is not None:
            self._entries.append(entry)

    def _check_disk(self) -> None:
        if self._file.TestBit(self._root.TFile.kWriteError):
            raise WriteError("ROOT could not write: is the disk full?")

    def append(self, parts: Sequence[Path], entries: Sequence[int], on_part: OnPart) -> int:
        """Append complete files' trees, without decompressing; returns the number of entries."""
        joined: dict[str, Any] = {}
        for number, part in enumerate(parts):
            on_part(number)
            with _silent(self._root):
                self._append_part(part, joined)
            self._check_disk()
        counts = {name: int(tree.GetEntries()) for name, tree in joined.items()}
        if len(set(counts.values())) != 1:
            raise ReadError(f"want products of one length in {len(parts)} parts, got {counts}")
        self._joined |= set(counts)
        self._entries.extend(entries)
        return next(iter(counts.values()))

    def _append_part(self, part: Path, joined: dict[str, Any]) -> None:
        """Append one part's trees to those in `joined`; the first part creates them."""
        source = self._root.TFile.Open(self._paths.of(part))
        if not source:
            raise ReadError(f"want the part {part}, ROOT could not open it")
        try:
            for name in joined or _products_of(source):
                tree = _want_tree(source.Get(f"{name}_tree"), f"{name} of {part}")
                if name not in joined:
                    self._file.cd()
                    joined[name] = _want_tree(tree.CloneTree(0), name)
                if joined[name].CopyEntries(tree, -1, "fast") < 0:
                    self._check_disk()
                    raise ReadError(f"want {name} as in the parts before, {part} has another one")
        finally:
            source.Close()

    def close(self) -> None:
        try:
            with _silent(self._root):
                self._copy()
                self._file.Write("", self._root.TObject.kOverwrite)
            self._check_disk()
        finally:
            self.abort()

    def abort(self) -> None:
        self._trees.clear()
        with _silent(self._root):
            self._file.Close()
        self._paths.close()

    def _tree(self, kind: str, producer: str, pixel_bytes: int) -> _Tree:
        key = (kind, producer)
        if key not in self._trees:
            # the entry's vector headers are included, so that one event fits into one basket
            size = min(max(pixel_bytes + 4096, MIN_BASKET_BYTES), MAX_BASKET_BYTES)
            event = new_event(self._root, self._format, kind)
            self._trees[key] = _Tree(self._root, self._file, event, kind, producer, size)
        return self._trees[key]

    def _write_images(self, producer: str, images: tuple[Image, ...], rse: RSE) -> None:
        tree = self._tree("image2d", producer, sum(image.pixels.nbytes for image in images))
        tree.event.resize(len(images))
        for i, image in enumerate(images):
            if self._format == "larcv2":
                image = image.in_order("forward")  # LArCV2 defines it so
            columns = np.asfortranarray(image.pixels)
            meta = self._meta(image.meta)
            tree.event.image(i).set(i, meta, columns.ctypes.data, columns.size)
        tree.fill(rse)

    def _write_rois(self, producer: str, rois: tuple[ROI, ...], rse: RSE) -> None:
        tree = self._tree(_REGIONS[self._format], producer, 0)
        tree.event.resize(len(rois))
        for i, roi in enumerate(rois):
            target = tree.event.roi(i)
            target.set(roi.index, roi.mcst_index)
            for box in roi.boxes:
                if self._format == "larcv1":
                    target.add_box(self._meta(box))
                else:
                    target.add_box(self._meta(box), int(box.plane))
        tree.fill(rse)

    def _meta(self, meta: ImageMeta) -> Any:
        if self._format == "larcv1":
            return self._root.larcv.ImageMeta(
                float(meta.width),
                float(meta.height),
                int(meta.rows),
                int(meta.cols),
                float(meta.origin_x),
                float(meta.origin_y),
                int(meta.plane),
            )
        return self._root.larcv.ImageMeta(
            float(meta.min_x),
            float(meta.min_y),
            float(meta.max_x),
            float(meta.max_y),
            int(meta.rows),
            int(meta.cols),
            int(meta.plane),
            int(meta.unit),
        )

    def _copy(self) -> None:
        if self._copied is None:
            return
        written = self._joined | {f"{kind}_{producer}" for kind, producer in self._trees}
        for name in self._copied.names:
            if name not in written:
                self._copy_product(self._copied, name)

    def _copy_product(self, source: Copied, name: str) -> None:
        if self._entries == array("q", range(source.entries)):
            self._on_copy(f"{name} of {source.paths[0]}")
            copied = self._clone(source.paths, source.sizes, name)
        else:
            copied = self._copy_entries(source, name)
        if copied != len(self._entries):
            raise WriteError(f"want {len(self._entries)} entries of {name} copied, got {copied}")

    def _clone(self, paths: Sequence[Path], sizes: Sequence[int], name: str) -> int:
        """Copy all entries in order, without decompressing their baskets."""
        if not sum(sizes):
            # a chain without entries has no tree to clone
            empty = self._root.TFile.Open(self._paths.of(paths[0]))
            tree = _want_tree(empty.Get(f"{name}_tree"), name)
            clone = _want_tree(tree.CloneTree(0), name)
            clone.SetDirectory(self._file)
            return 0
        chain = self._chain(paths, sizes, name)
        return int(_want_tree(chain.CloneTree(-1, "fast"), name).GetEntries())

    def _chain(self, paths: Sequence[Path], sizes: Sequence[int], name: str) -> Any:
        tree = f"{name}_tree"
        chain = self._root.TChain(tree)
        for path, entries in zip(paths, sizes, strict=True):
            chain.AddFile(self._paths.of(path), entries, tree)
        self._file.cd()
        return chain

    def _copy_entries(self, source: Copied, name: str) -> int:
        if not source.entries:
            return self._clone(source.paths, source.sizes, name)
        check_chosen(source)
        chain = self._chain(source.paths, source.sizes, name)
        event = new_event(self._root, self._format, name.partition("_")[0])
        if event is not None:
            chain.SetBranchAddress(f"{name}_branch", event)
        clone = _want_tree(chain.CloneTree(0), name)
        for entry in self._entries:
            path, local = source.locate(entry)
            self._on_copy(f"{name} of {path} entry {local}")
            if event is not None:
                # ROOT knows the class only by its declaration, and breaks the heap when it makes a
                # vector larger or smaller that has elements
                event.clear()
            if chain.GetEntry(entry) <= 0 or clone.Fill() <= 0:
                raise ReadError(f"want {name} copied, ROOT could not read {path} entry {local}")
        return int(clone.GetEntries())


def append_provenance(root: Any, part: Path, records: Sequence[str]) -> None:
    """Add entries to a file's tree of provenance records. Raises `WriteError`."""
    paths = PlainPaths()
    with _silent(root), writing(str(part)):
        try:
            file = root.TFile.Open(paths.of(part), "UPDATE", "", COMPRESSION)
            try:
                _fill_provenance(root, file, records)
                file.Write("", root.TObject.kOverwrite)
                failed = file.TestBit(root.TFile.kWriteError)
            finally:
                file.Close()
        finally:
            paths.close()
    if failed:
        raise WriteError("ROOT could not write: is the disk full?")


def _fill_provenance(root: Any, file: Any, records: Sequence[str]) -> None:
    text = root.std.string()
    tree = file.Get(provenance_texts.NAME)
    if tree and not tree.InheritsFrom("TTree"):
        raise WriteError(f"want a tree as {provenance_texts.NAME}, got {tree.ClassName()}")
    if tree:
        tree.SetBranchAddress(provenance_texts.RECORD, text)
    else:
        title = "how this file was made: JSON, one entry per step"
        tree = root.TTree(provenance_texts.NAME, title, 99, file)
        tree.Branch(provenance_texts.RECORD, text)
    for record in records:
        text.assign(record)
        tree.Fill()


@contextmanager
def _silent(root: Any) -> Iterator[None]:
    """Silence ROOT's messages, which are long for a full disk; callers check for errors."""
    level = int(root.gErrorIgnoreLevel)
    root.gErrorIgnoreLevel = max(level, int(root.kSysError) + 1)
    try:
        yield
    finally:
        root.gErrorIgnoreLevel = level


def _want_tree(tree: Any, name: str) -> Any:
    if not tree:
        raise ReadError(f"want {name} copied, ROOT could not read it")
    return tree


def _check(event: Event, format: Format) -> None:
    """Raise `ImageError` for numbers that LArCV's classes cannot hold."""
    if not all(0 <= number <= _SIZE_MAX for number in event.rse):
        raise ImageError(f"want (run, subrun, event) of at least 0, got {tuple(event.rse)}")
    metas = [image.meta for images in event.images.values() for image in images]
    rois = [roi for several in event.rois.values() for roi in several]
    boxes = [box for roi in rois for box in roi.boxes]
    sides = [side for meta in (*metas, *boxes) for side in (meta.rows, meta.cols)]
    if not all(0 <= side <= _SIZE_MAX for side in sides):
        raise ImageError(f"want rows and cols from 0 to {_SIZE_MAX}, got {max(sides)}")
    shorts = [meta.plane for meta in (*metas, *boxes)]
    shorts += [number for roi in rois for number in (roi.index, roi.mcst_index)]
    if not all(0 <= number <= _USHORT_MAX for number in shorts):
        raise ImageError(f"want planes and indices from 0 to {_USHORT_MAX}, got {max(shorts)}")
    if format == "larcv2":
        _check_planes(rois)


def _check_planes(rois: Sequence[ROI]) -> None:
    """Raise `ImageError` for boxes that LArCV2 cannot tell apart: it has one for each plane."""
    for number, roi in enumerate(rois):
        planes = [box.plane for box in roi.boxes]
        if len(set(planes)) < len(planes) or INVALID_INDEX in planes:
            raise ImageError(
                f"want one box for each plane in region {number}, for {LARCV_NAMES['larcv2']},"
                f" got planes {planes}"
            )


def _products_of(file: Any) -> list[str]:
    """Return the names of the products in an open file, in its order."""
    names = [str(key.GetName()) for key in file.GetListOfKeys() if key.GetClassName() == "TTree"]
    return [name.removesuffix("_tree") for name in dict.fromkeys(names) if _TREE.fullmatch(name)]
