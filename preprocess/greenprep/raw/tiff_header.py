"""Read a TIFF's directories without GDAL: what a file claims to be, before anything is allocated for it.

Knows classic and BigTIFF in both byte orders; reads tags, never pixels. Reference: TIFF 6.0 (Adobe, 1992).
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.codes import Code
from greenschemas.errors import SourceError

__all__ = ["BadFile", "Page", "read_pages"]

FETCH = 16 << 10
"""Bytes fetched at a time."""
OVERVIEW, MASK_PAGE = 1, 4
"""Bits of the subfile tag."""
PAGES_MAX = 1024
"""More directories than this are not followed: no image here has so many bands."""
TAGS_MAX = 4096
WIDTH, HEIGHT, BITS, COMPRESSION, OFFSETS, SAMPLES, ROWS, COUNTS, PLANAR = 256, 257, 258, 259, 273, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUBFILE, FORMAT = 322, 323, 324, 325, 254, 339
WANTED = frozenset(
    {
        WIDTH,
        HEIGHT,
        BITS,
        COMPRESSION,
        OFFSETS,
        SAMPLES,
        ROWS,
        COUNTS,
        PLANAR,
        TILE_WIDTH,
        TILE_HEIGHT,
        TILE_OFFSETS,
        TILE_COUNTS,
        SUBFILE,
        FORMAT,
    }
)
TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
"""NumPy types of the TIFF field types that the wanted tags may have."""
GEOREFERENCE = frozenset({33550, 33922, 34264, 34735, 34736, 34737})
"""Tags of GeoTIFF 1.1 (OGC 19-008): pixel scale, tie points, matrix, and the keys of the coordinate system …"""
GEOREFERENCE_SIZES = {2: 1, 3: 2, 12: 8}
"""… and the bytes of one value of the types that they may have: text, short, double."""
GEOREFERENCE_MAX = 8 << 10
"""Bytes of one of them; longer ones (hundreds of tie points) are left to GDAL."""

DISGUISES = (
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"CDF", "a NetCDF file"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 picture"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"BM", "a BMP picture"),
)


class BadFile(SourceError):
    """A file that cannot be used; `code` says which check it fails."""

    def __init__(self, where: object, found: str, remedy: str, code: Code = Code.UNREADABLE) -> None:
        super().__init__(where, found, remedy)
        self.args = (*self.args, code)

    @property
    def code(self) -> Code:
        """The check that the file fails."""
        return Code(self.args[3])


@dataclass(frozen=True)
class Page:
    """One full-resolution image directory of a TIFF, as its tags describe it."""

    width: int
    height: int
    samples: int
    """Bands in this directory."""
    bits: int
    """Of one sample."""
    block: tuple[int, int]
    """(rows, columns) of a strip or tile."""
    planar: bool
    """Each band in blocks of its own."""
    masked: bool
    """Whether an internal mask follows that says which pixels hold anything."""
    end: int
    """One past the last byte of the file that its blocks claim."""
    listed: int
    """Blocks that its tags give a place and a size; of one that they leave out GDAL hands on whatever was in memory, or
    zeros."""
    georeference: bytes = b""
    """Its georeferencing tags as they stand in the file: of equal ones GDAL makes the same transform and coordinate
    system. Empty where there are none, or where GDAL might look elsewhere."""

    @property
    def nbytes(self) -> int:
        """Decoded size of the whole directory."""
        return self.width * self.height * self.samples * -(-self.bits // 8)

    @property
    def blocks(self) -> int:
        """Blocks that it takes to hold all of its pixels."""
        rows, columns = (max(side, 1) for side in self.block)
        return -(-self.height // rows) * -(-self.width // columns) * (self.samples if self.planar else 1)

    @property
    def block_nbytes(self) -> int:
        """Decoded size of one block."""
        rows, columns = self.block
        return rows * columns * (1 if self.planar else self.samples) * -(-self.bits // 8)


def read_pages(path: Path) -> tuple[tuple[Page, ...], int]:
    """(full-resolution directories, size of the file in bytes); overviews and internal masks are left out.

    Raises BadFile where the file cannot be opened, is empty, is no TIFF, or ends before its directories do.
    """
    try:
        # Without O_NONBLOCK, opening a pipe that bears a TIFF's name would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as problem:
        raise BadFile(
            path, f"cannot be read ({problem.strerror})", "check its name, its permissions and the disk"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadFile(path, "not a regular file", "give real files")
        file = _Bytes(descriptor, status.st_size)
        return _pages(path, file), file.size
    except OSError as problem:
        raise BadFile(path, f"cannot be read ({problem.strerror})", "check its permissions and the disk") from None
    finally:
        os.close(descriptor)


class _Bytes:
    """Bytes of an open file by place, fetched in pages: a header is many small reads close together."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self.size = descriptor, size
        self._start, self._page = 0, self._fetch(0, FETCH)

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; raises ValueError where the file ends before."""
        if offset + count > self.size:
            raise ValueError("beyond the end")
        if not (self._start <= offset and offset + count <= self._start + len(self._page)):
            self._start, self._page = offset, self._fetch(offset, max(count, FETCH))
        return self._page[offset - self._start : offset - self._start + count]

    def _fetch(self, offset: int, count: int) -> bytes:
        """What `read` gives, asked again until all is there: it may give less than it was asked for."""
        os.lseek(self._descriptor, offset, os.SEEK_SET)  # Windows has no `pread`.
        parts: list[bytes] = []
        while count > 0 and (part := os.read(self._descriptor, count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def _pages(path: Path, file: _Bytes) -> tuple[Page, ...]:
    order, big, offset = _signature(path, file.at(0, min(512, file.size)))
    pages: list[Page] = []
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < PAGES_MAX:
        seen.add(offset)
        try:
            tags, georeference, offset = _directory(file, order, big, offset)
        except (struct.error, ValueError):
            if pages:
                break  # A damaged later directory, such as a lost overview, is not needed.
            raise BadFile(
                path,
                f"its directory at byte {offset} lies beyond or across its end ({file.size} bytes)",
                "fetch the file again: it was cut off",
                Code.TRUNCATED,
            ) from None
        kind = _first(tags, SUBFILE, 0)
        if kind & MASK_PAGE and pages and not kind & OVERVIEW:
            pages[-1] = replace(pages[-1], masked=True)
        elif not kind & (MASK_PAGE | OVERVIEW):
            page = _page(path, tags)
            pages.append(page if len(seen) > 1 else replace(page, georeference=georeference))
    if not pages:
        raise BadFile(path, "a TIFF without an image", "fetch the file again")
    return tuple(pages)


def _signature(path: Path, head: bytes) -> tuple[str, bool, int]:
    """(byte order, BigTIFF, offset of the first directory)."""
    if not head:
        raise BadFile(path, "0 bytes", "fetch the file again", Code.EMPTY_FILE)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack(order + "H", head[2:4])[0] if order and len(head) >= 4 else None
    if order is None or version not in (42, 43):
        raise BadFile(path, f"{_disguise(head)}, not a TIFF", "fetch the file again, or remove it", Code.NOT_A_TIFF)
    try:
        offset = struct.unpack_from(order + ("Q" if version == 43 else "I"), head, 8 if version == 43 else 4)[0]
    except struct.error:
        raise BadFile(path, f"{len(head)} bytes", "fetch the file again: it was cut off", Code.TRUNCATED) from None
    return order, version == 43, offset


def _disguise(head: bytes) -> str:
    for magic, name in DISGUISES:
        if head.startswith(magic):
            return name
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if text.startswith(b"<vrtdataset"):
        return "a GDAL virtual file (VRT)"
    if text.startswith(b"<"):
        return "an XML file"
    printable = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "a text file" if printable else "unknown data" if any(head) else "zero bytes only"


def _directory(file: _Bytes, order: str, big: bool, offset: int) -> tuple[dict[int, NDArray[Any]], bytes, int]:
    """(wanted tags, georeference, offset of the next directory).

    Raises struct.error or ValueError where the file is too short.
    """
    count_code, pointer, entry, inline = ("Q", "Q", 20, 8) if big else ("H", "I", 12, 4)
    lead = struct.calcsize(count_code)
    count = struct.unpack(order + count_code, file.at(offset, lead))[0]
    if count > TAGS_MAX:
        raise ValueError("no real directory is so long")
    body = file.at(offset + lead, count * entry)
    tags: dict[int, NDArray[Any]] = {}
    located: dict[bytes, bytes] = {}

    def value(held: bytes, size: int) -> bytes:
        return held[:size] if size <= inline else file.at(struct.unpack(order + pointer, held)[0], size)

    def bytes_of(held: bytes, size: int) -> bytes:
        try:
            return value(held, size) if size <= GEOREFERENCE_MAX else b""
        except ValueError:
            return b""  # It lies beyond the end: GDAL may make of it what it likes.

    for tag, kind, number, held in struct.iter_unpack(f"{order}HH{pointer}{inline}s", body):
        if tag in WANTED and kind in TYPES:
            dtype = np.dtype(order + TYPES[kind])
            tags[tag] = np.frombuffer(value(held, number * dtype.itemsize), dtype, number)
        elif tag in GEOREFERENCE:
            key = struct.pack(order + "HH" + pointer, tag, kind, number)
            located[order.encode() + key] = bytes_of(held, number * GEOREFERENCE_SIZES.get(kind, 0))
    end = offset + lead + count * entry
    # Some writers leave the last pointer out.
    follows = struct.unpack(order + pointer, file.at(end, inline))[0] if end + inline <= file.size else 0
    return tags, b"".join(key + held for key, held in located.items()) if all(located.values()) else b"", follows


def _page(path: Path, tags: dict[int, NDArray[Any]]) -> Page:
    width, height = _first(tags, WIDTH, 0), _first(tags, HEIGHT, 0)
    if width <= 0 or height <= 0:
        raise BadFile(path, f"a header of {width} x {height} pixels", "fetch the file again")
    tiled = TILE_WIDTH in tags
    block = (
        (_first(tags, TILE_HEIGHT, height), _first(tags, TILE_WIDTH, width))
        if tiled
        else (min(_first(tags, ROWS, height), height), width)
    )
    return Page(
        width=width,
        height=height,
        samples=_first(tags, SAMPLES, 1),
        bits=_first(tags, BITS, 1),
        block=block,
        planar=_first(tags, PLANAR, 1) == 2,
        masked=False,
        end=_end(tags, tiled),
        listed=_listed(tags, tiled),
    )


def _first(tags: dict[int, NDArray[Any]], tag: int, default: int) -> int:
    values = tags.get(tag)
    return int(values[0]) if values is not None and len(values) else default


def _located(tags: dict[int, NDArray[Any]], tiled: bool) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """(offsets, sizes in bytes) of the blocks; None where there is no such tag."""
    offsets = tags.get(TILE_OFFSETS if tiled and TILE_OFFSETS in tags else OFFSETS)
    return offsets, tags.get(TILE_COUNTS if tiled and TILE_COUNTS in tags else COUNTS)


def _listed(tags: dict[int, NDArray[Any]], tiled: bool) -> int:
    offsets, counts = _located(tags, tiled)
    places = 0 if offsets is None else len(offsets)
    return places if counts is None else min(places, len(counts))


def _end(tags: dict[int, NDArray[Any]], tiled: bool) -> int:
    offsets, counts = _located(tags, tiled)
    if offsets is None or counts is None or not len(offsets) or len(offsets) != len(counts):
        return 0
    present = counts > 0
    ends = offsets[present].astype(np.float64) + counts[present]
    return int(ends.max(initial=0))
