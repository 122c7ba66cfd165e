"""What a compressed frame says of itself before it is decoded: size, depth, and whether its end is there.

A decoder believes these numbers and takes memory for them, and some decoders fill what is missing with a guess. So they are
compared with the DICOM header first. Sources: ITU-T T.81 B.2 (JPEG), T.87 C.2 (JPEG-LS), T.800 A.5 (JPEG 2000).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC; SOF55 of JPEG-LS
BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}  # without a length: TEM, RST0 to RST7
START_OF_SCAN = 0xDA


class BrokenStream(Exception):
    """The stream contradicts itself or breaks off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSize:
    """The frame as its own header states it."""

    rows: int
    columns: int
    components: int
    bits: int


def stream_size(stream: bytes) -> StreamSize:
    """Size and depth of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K frame that is whole. Raises: BrokenStream."""
    end = len(stream.rstrip(b"\0"))  # frames are padded to an even length
    if stream[:2] == b"\xff\xd8":
        return _jpeg(stream, end)
    if stream[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000(stream, end)
    if stream[4:12] == b"jP  \r\n\x87\n":
        raise BrokenStream("a JP2 file instead of a bare codestream")
    raise BrokenStream("it does not begin as a compressed frame does")


def _jpeg(stream: bytes, end: int) -> StreamSize:
    if stream[end - 2 : end] != b"\xff\xd9":
        raise BrokenStream("its end is missing")
    size, at = None, 2
    while at + 4 <= end:
        if stream[at] != 0xFF:
            raise BrokenStream("a marker is missing")
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in BARE_MARKERS:
            at += 2
            continue
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in SIZE_MARKERS:
            if size is not None or length < 8 or at + 10 > end:
                raise BrokenStream("its size is stated twice or broken off")
            bits, rows, columns, components = struct.unpack(">BHHB", stream[at + 4 : at + 10])
            size = StreamSize(rows=rows, columns=columns, components=components, bits=bits)
        if marker == START_OF_SCAN:
            if size is None:
                raise BrokenStream("its size is missing")
            # coded data cannot hold this pair by chance; what follows an early end would be filled with a guess
            if stream.find(b"\xff\xd9", at + 2 + length, end - 2) >= 0:
                raise BrokenStream("it ends in the middle")
            return size
        at += 2 + max(length, 2)
    raise BrokenStream("there is no scan in it")


def _jpeg2000(stream: bytes, end: int) -> StreamSize:
    if len(stream) < 42:
        raise BrokenStream("its size is broken off")
    width, height, left, top = struct.unpack(">4I", stream[8:24])
    components = int.from_bytes(stream[40:42], "big")
    size = StreamSize(rows=height - top, columns=width - left, components=components, bits=(stream[42] & 0x7F) + 1)
    at = 4 + int.from_bytes(stream[4:6], "big")
    while stream[at : at + 2] != b"\xff\x90":  # the main header's segments, until the first tile part
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at : at + 1] != b"\xff" or length < 2:
            raise BrokenStream("there is no tile in it")
        at += 2 + length
    while stream[at : at + 2] == b"\xff\x90":
        part = int.from_bytes(stream[at + 6 : at + 10], "big")
        if part == 0:  # the last one may leave its length open
            part = end - 2 - at
        if part < 14 or at + part > end:
            raise BrokenStream("its end is missing")
        at += part
    if stream[at : at + 2] != b"\xff\xd9":
        raise BrokenStream("its end is missing")
    return size
