"""Uncompressed pixels straight from the file: only the wanted frames, checked against the header before memory is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from .elements import Damaged, any_behind_pixels, get, read_whole
from .frames import Frame

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
# low half of the tag of an element that holds pixels → kind of number (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)
KINDS = {0x0010: "u", 0x0009: "f", 0x0008: "f"}
KEYWORDS = {"PixelData": "u", "DoubleFloatPixelData": "f", "FloatPixelData": "f"}
LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
UNDEFINED = 0xFFFFFFFF


def native_frames(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Stored values (rows, columns) of some frames of one file, all allocated bits.

    Raises: UserError when the pixels are missing, or their length is not what the header says (PS3.5 8.1.1).
    """
    first = frames[0]
    if first.pixels_at and first.transfer_syntax in (IMPLICIT, EXPLICIT):
        yield from _from_place(file, frames)
    else:
        yield from _from_object(file, frames)


def _from_place(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Little endian: the bytes are found without parsing the file again."""
    first = frames[0]
    with file.open("rb") as stream:
        stream.seek(first.pixels_at)
        head = stream.read(12)
        kind = KINDS.get(int.from_bytes(head[2:4], "little")) if head[:2] == b"\xe0\x7f" else None
        named = first.transfer_syntax == EXPLICIT
        if kind is None or len(head) < 8 or (named and head[4:6] not in LONG_VRS):
            raise _none(file)
        length = int.from_bytes(head[8:12] if named else head[4:8], "little")
        _judge_length(first, length)
        start = first.pixels_at + (12 if named else 8)
        stream.seek(start + length)
        rest = stream.read(8)  # the head of another element, unless it is padding
        if len(rest) == 8 and 0 < _tag_of(rest) <= _tag_of(head):
            raise _out_of_order(file)
        dtype, size = np.dtype(f"<{kind}{first.bits_allocated // 8}"), first.rows * first.columns
        for frame in frames:
            stream.seek(start + frame.index * frame_bytes(first))
            pixels = np.fromfile(stream, dtype=dtype, count=size)
            if pixels.size < size:
                raise truncated(first, file.stat().st_size - start, frame_bytes(first) * first.frame_count)
            yield pixels.reshape(first.rows, first.columns)


def _from_object(file: Path, frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """Deflated, big endian, or without group 0002: the parser unpacks it."""
    first = frames[0]
    try:
        dataset = read_whole(file)
    except Damaged as error:
        raise UserError(f"the file is damaged ({error})", where=file.name, next="Send or copy it again.") from error
    if any_behind_pixels(dataset):
        raise _out_of_order(file)
    keyword = next((k for k in KEYWORDS if isinstance(get(dataset, k), bytes)), None)
    if keyword is None:
        raise _none(file)
    data = bytes(dataset[keyword].value)
    _judge_length(first, len(data))
    big = not dataset.original_encoding[1]
    if big and first.bits_allocated == 8 and dataset[keyword].VR == "OW":  # bytes travel in swapped pairs (PS3.5 7.3)
        data = np.frombuffer(data[: len(data) // 2 * 2], dtype=">u2").astype("<u2").tobytes()
    dtype, size = np.dtype(f"{'>' if big else '<'}{KEYWORDS[keyword]}{first.bits_allocated // 8}"), first.rows * first.columns
    for frame in frames:
        pixels = np.frombuffer(data, dtype=dtype, count=size, offset=frame.index * frame_bytes(first))
        yield pixels.astype(dtype.newbyteorder("="), copy=False).reshape(first.rows, first.columns)


def frame_bytes(frame: Frame) -> int:
    """Of one uncompressed frame."""
    return frame.rows * frame.columns * frame.bits_allocated // 8


def _judge_length(frame: Frame, length: int) -> None:
    expected = frame_bytes(frame) * frame.frame_count
    if length == UNDEFINED:
        what = "the pixels are packed in fragments, the transfer syntax says that they are plain"
        raise UserError(what, where=frame.file.name, next="The file is damaged: send it again.")
    if length < expected:
        raise truncated(frame, length, expected)
    if length > expected + 1:  # an odd length is filled up by one byte
        shape = f"{frame.columns} x {frame.rows} pixels, {frame.frame_count} frames, {frame.bits_allocated} bits"
        what = f"there are {length} bytes of pixels, the header says {expected} ({shape})"
        raise UserError(what, where=frame.file.name, next="The header and the pixels do not belong together: send it again.")


def truncated(frame: Frame, available: int, expected: int) -> UserError:
    """Fewer pixels than the header says."""
    what = f"the pixels are truncated: {available} of {expected} bytes are there"
    return UserError(what, where=frame.file.name, next="The file is incomplete: send or copy it again.")


def _tag_of(head: bytes) -> int:
    return int.from_bytes(head[:2], "little") << 16 | int.from_bytes(head[2:4], "little")


def _out_of_order(file: Path) -> UserError:
    """What stands there was not seen when the header was read, so it would be left out without a word."""
    what = "behind the pixels stands what belongs before them"
    return UserError(what, where=file.name, next="The file is damaged: send it again.")


def _none(file: Path) -> UserError:
    return UserError("there are no pixels in the file (truncated?)", where=file.name, next="Send or copy it again.")
