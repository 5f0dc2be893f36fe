"""Liquid-argon detector images: geometry, files and message frames. It uses no sockets."""

from .crops import chain
from .errors import (
    BatchError,
    FileExists,
    FrameError,
    ImageError,
    LArTPCError,
    LibraryMissing,
    ParameterError,
    ProductMissing,
    ReadError,
    TickOrderError,
    WriteError,
)
from .files import provenance
from .files.formats import Format
from .files.open import (
    check_fits,
    check_target,
    format_of,
    format_to_write,
    listing,
    open_reader,
    open_writer,
    producers,
    products,
    readable_products,
)
from .files.reader import Product, Reader
from .files.ticks import AskedOrder, TickChoice
from .files.writer import Writer
from .frames import Batch, Limits, meta_text, pack, stack, unpack
from .image import ROI, RSE, Event, Image, ImageMeta, TickOrder

__all__ = [
    "ROI",
    "RSE",
    "AskedOrder",
    "Batch",
    "BatchError",
    "Event",
    "FileExists",
    "Format",
    "FrameError",
    "Image",
    "ImageError",
    "ImageMeta",
    "LArTPCError",
    "LibraryMissing",
    "Limits",
    "ParameterError",
    "Product",
    "ProductMissing",
    "ReadError",
    "Reader",
    "TickChoice",
    "TickOrder",
    "TickOrderError",
    "WriteError",
    "Writer",
    "chain",
    "check_fits",
    "check_target",
    "format_of",
    "format_to_write",
    "listing",
    "meta_text",
    "open_reader",
    "open_writer",
    "pack",
    "producers",
    "products",
    "provenance",
    "readable_products",
    "stack",
    "unpack",
]
