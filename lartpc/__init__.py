"""Liquid-argon detector images: geometry, files and message frames. It uses no sockets."""

from .errors import (
    BatchError,
    FileExists,
    FrameError,
    ImageError,
    LArTPCError,
    LibraryMissing,
    ProductMissing,
    ReadError,
    SettingsError,
    TickOrderError,
    WriteError,
)
from .files import (
    check_fits,
    check_target,
    listing,
    open_reader,
    open_writer,
    producers,
    products,
    readable_products,
)
from .frames import Batch, Limits, meta_text, pack, stack, unpack
from .image import ROI, RSE, Event, Image, ImageMeta, TickOrder
from .reader import Product, Reader
from .ticks import AskedOrder, TickChoice
from .writer import Writer

__all__ = [
    "ROI",
    "RSE",
    "AskedOrder",
    "Batch",
    "BatchError",
    "Event",
    "FileExists",
    "FrameError",
    "Image",
    "ImageError",
    "ImageMeta",
    "LArTPCError",
    "LibraryMissing",
    "Limits",
    "Product",
    "ProductMissing",
    "ReadError",
    "Reader",
    "SettingsError",
    "TickChoice",
    "TickOrder",
    "TickOrderError",
    "WriteError",
    "Writer",
    "check_fits",
    "check_target",
    "listing",
    "meta_text",
    "open_reader",
    "open_writer",
    "pack",
    "producers",
    "products",
    "readable_products",
    "stack",
    "unpack",
]
