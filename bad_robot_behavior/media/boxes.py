"""What an mp4 file holds beside its pictures, read from its boxes (ISO/IEC 14496-12) by nothing but this module.

FFmpeg shows the tags it knows and skips what it does not; a check that uses what wrote the file would share its blind
spots. So this one knows the boxes that a plain video needs, and tells every other.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bad_robot_behavior.media.opening import MediaInput

_NEEDED = frozenset(
    {
        *("ftyp", "free", "skip", "wide", "mdat", "moov"),
        *("moov.mvhd", "moov.trak", "moov.trak.tkhd", "moov.trak.edts", "moov.trak.edts.elst", "moov.trak.mdia"),
        *("moov.trak.mdia.mdhd", "moov.trak.mdia.hdlr", "moov.trak.mdia.minf"),
        # what FFmpeg writes where there are no tags: a list of tags that is empty
        *("moov.udta", "moov.udta.meta", "moov.udta.meta.hdlr", "moov.udta.meta.ilst"),
    }
    | {f"moov.trak.mdia.minf.{name}" for name in ("vmhd", "dinf", "dinf.dref", "dinf.dref.url ", "stbl")}
    | {
        f"moov.trak.mdia.minf.stbl.{name}"
        for name in ("stsd", "stts", "stss", "stsc", "stsz", "stco", "co64", "ctts", "cslg", "sdtp", "sgpd", "sbgp")
    }
)
_PICTURES = frozenset({"avc1", "avc3", "hvc1", "hev1", "av01", "vp09", "mp4v", "jpeg", "mjpa", "FFV1", "m2v1"})
_OF_PICTURES = frozenset({"avcC", "hvcC", "av1C", "vpcC", "esds", "pasp", "colr", "btrt", "fiel", "chrm", "glbl"})
_HOLD_BOXES = frozenset(
    {"moov", "trak", "edts", "mdia", "minf", "dinf", "stbl", "udta", "ilst", "mvex", "moof", "traf"}
)
_NO_LANGUAGE = (0, 0x55C4)
_DEPTH = 12
_MAX_BOXES = 10_000


class Box(NamedTuple):
    """One box: the names of those around it and its own, and where its content lies in the file."""

    path: str
    start: int
    end: int


def boxes(data: bytes | mmap.mmap) -> Iterator[Box]:
    """All boxes of a file in order, those of a holder after it. A box named `?` stands for bytes that are no box."""
    yield from _boxes(data, 0, len(data), "", 0)


def leftovers(source: MediaInput) -> list[str]:
    """What a file holds beside one track of pictures, in words and without values; empty for what `remux` and `encode`
    write. Bytes of the pictures' own stream are not looked into."""
    if isinstance(source, bytes):
        return list(_leftovers(source))
    with Path(source).open("rb") as file:
        if not file.seek(0, 2):
            return ["an empty file"]
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return list(_leftovers(data))


def _boxes(data: bytes | mmap.mmap, start: int, end: int, parent: str, depth: int) -> Iterator[Box]:
    count = 0
    while start < end:
        count += 1
        size, name = struct.unpack(">I4s", data[start : start + 8]) if end - start >= 8 else (0, b"")
        head = 8
        if size == 1 and end - start >= 16:
            (size,) = struct.unpack(">Q", data[start + 8 : start + 16])
            head = 16
        elif size == 0 and name and not parent:
            size = end - start  # the last box may say that it goes on to the end of the file
        if size < head or start + size > end or count > _MAX_BOXES or depth > _DEPTH:
            yield Box(f"{parent}?", start, end)
            return
        kind = name.decode("latin-1")
        path = f"{parent}{kind}"
        yield Box(path, start + head, start + size)
        inner = _inside(kind, parent, start + head, start + size)
        if inner is not None:
            yield from _boxes(data, inner, start + size, f"{path}.", depth + 1)
        start += size


def _inside(kind: str, parent: str, start: int, end: int) -> int | None:
    """Where the boxes inside a box begin; None where it holds none."""
    if kind in _HOLD_BOXES:
        return start
    skip = {"stsd": 8, "dref": 8, "meta": 4}.get(kind)
    if parent.endswith("stsd."):
        skip = 78 if kind in _PICTURES else None
    return start + skip if skip is not None and start + skip <= end else None


def _leftovers(data: bytes | mmap.mmap) -> Iterator[str]:
    tracks = pictures = payload = 0
    for box in boxes(data):
        name = box.path.rsplit(".", 1)[-1]
        content = data[box.start : min(box.end, box.start + 256)]
        if not _is_needed(box.path):
            yield f"box {_printable(box.path)}"
        elif name in ("free", "skip", "wide") and any(data[box.start : box.end]):
            yield f"bytes in box {name}"
        elif name in ("mvhd", "tkhd", "mdhd"):
            yield from _times(name, content)
        elif name == "trak":
            tracks += 1
        elif name == "hdlr":
            yield from _handler(content, "vide" if box.path == "moov.trak.mdia.hdlr" else "mdir")
        elif name == "mdat":
            payload += box.end - box.start
        elif name == "stsz" and len(content) >= 12:
            pictures += _sizes(data, box)
        elif box.path.endswith(f"stsd.{name}") and name in _PICTURES and any(content[42:74].lstrip(b"\x00\x1f")):
            yield "a compressor name"
    if tracks != 1:
        yield f"{tracks} tracks, where there must be one"
    elif payload != pictures:
        yield f"{payload - pictures} bytes in mdat that belong to no picture"


def _is_needed(path: str) -> bool:
    if path in _NEEDED:
        return True
    parent, _, name = path.rpartition(".")
    if parent.endswith(".stsd"):
        return name in _PICTURES
    return parent.rpartition(".")[0].endswith(".stsd") and name in _OF_PICTURES


def _times(name: str, content: bytes) -> Iterator[str]:
    long = content[:1] == b"\x01"
    if any(content[4 : 20 if long else 12]):
        yield f"a time of creation or change in {name}"
    if name == "mdhd":
        place = 32 if long else 20
        if int.from_bytes(content[place : place + 2], "big") not in _NO_LANGUAGE:
            yield "a language"


def _handler(content: bytes, wanted: str) -> Iterator[str]:
    kind = content[8:12].decode("latin-1")
    if kind != wanted:
        yield f"a track of kind {_printable(kind)}"
    if content[24:].strip(b"\x00") not in (b"", b"VideoHandler"):
        yield "a name of the handler"


def _sizes(data: bytes | mmap.mmap, box: Box) -> int:
    each, count = struct.unpack(">II", data[box.start + 4 : box.start + 12])
    if each:
        return int(each) * int(count)
    table = data[box.start + 12 : min(box.end, box.start + 12 + 4 * count)]
    return sum(struct.unpack(f">{len(table) // 4}I", table[: len(table) // 4 * 4]))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)
