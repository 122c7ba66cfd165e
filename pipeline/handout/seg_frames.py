"""The frames of a segmentation: one a structure and source slice, put into the file and read back one at a time.

As objects in memory, the frames of a long series with many structures would take more than its labels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .planes import plane_of_structure
from .study import Study, reference

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Frame = tuple[int, int]  # position of the structure in the table, number of the source slice
PER_FRAME, PIXEL_DATA, ITEM = (0x5200, 0x9230), (0x7FE0, 0x0010), (0xFFFE, 0xE000)
LONGEST = 0xFFFFFFFE  # bytes of an element
READ_AT_ONCE = 1 << 16  # bytes of an element; longer ones stay in the file


def frames_of(planes: np.ndarray, structures: int) -> list[Frame]:
    """Structure by structure, along the slices; all structures in the first slice where nothing was found: a SEG has at least
    one frame, and a series without findings should not become one of hundreds."""
    every = ((position, k) for position in range(structures) for k in range(len(planes)))
    found = [frame for frame in every if plane_of_structure(planes, frame[1], frame[0]).any()]
    return found or [(position, 0) for position in range(structures)]


def append_frames(path: Path, frames: Sequence[Frame], planes: np.ndarray, study: Study, like: Dataset) -> None:
    """Add the last two elements, descriptions and pixels of all frames, to a file that has all others.

    Args:
        planes: of `source_planes`.
        like: the functional groups of any frame. They are written over.
    Raises: UserError where one object cannot hold so many frames.
    """
    _, rows, columns = planes.shape[:3]
    length = -(-len(frames) * rows * columns // 16) * 2  # even
    if length > LONGEST:
        what = f"a DICOM segmentation holds no more than 4 GiB; {len(frames)} frames of {rows} x {columns} are more"
        raise UserError(what, where=path.name, next="Leave it out: --no-seg.")
    described = b"".join(_descriptions(frames, study, like))
    with path.open("ab") as file:
        file.write(_head(PER_FRAME, b"SQ", len(described)) + described)
        file.write(_head(PIXEL_DATA, b"OB", length))
        written = sum(map(file.write, _pixels(frames, planes)))
        file.write(bytes(length - written))


def read_frames(path: Path, dataset: Dataset) -> Iterator[tuple[Dataset, np.ndarray]]:
    """The functional groups and the pixels, bool (rows, columns), of each frame.

    Args:
        dataset: of this file, read with `defer_size=READ_AT_ONCE`.
    """
    from pydicom.filereader import read_sequence_item

    described, stored = (dataset.get_item(tag, keep_deferred=True) for tag in (PER_FRAME, PIXEL_DATA))
    size, number = dataset.Rows * dataset.Columns, 0
    with path.open("rb") as groups, path.open("rb") as pixels:
        groups.seek(described.value_tell)
        while groups.tell() < described.value_tell + described.length:
            item = read_sequence_item(groups, False, True, dataset.SpecificCharacterSet)
            first, skip = divmod(number * size, 8)
            pixels.seek(stored.value_tell + first)
            packed = np.frombuffer(pixels.read((skip + size + 7) // 8), dtype=np.uint8)
            bits = np.unpackbits(packed, bitorder="little")[skip : skip + size]
            yield item, bits.reshape(dataset.Rows, dataset.Columns) == 1
            number += 1


def _descriptions(frames: Sequence[Frame], study: Study, like: Dataset) -> Iterator[bytes]:
    """The items of the Per-Frame Functional Groups Sequence (PS3.3 C.7.6.16)."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    ranks = {k: rank for rank, k in enumerate(sorted({k for _, k in frames}), start=1)}
    derivation = like.DerivationImageSequence[0]
    usual = derivation.SourceImageSequence[0]
    for position, k in frames:
        header = study.headers[k]
        source = reference(header)
        source.PurposeOfReferenceCodeSequence = usual.PurposeOfReferenceCodeSequence
        source.SpatialLocationsPreserved = usual.SpatialLocationsPreserved
        derivation.SourceImageSequence = [source]
        like.FrameContentSequence[0].DimensionIndexValues = [position + 1, ranks[k]]
        like.PlanePositionSequence[0].ImagePositionPatient = decimals(header.frame.position or ())
        if "SegmentIdentificationSequence" in like:  # one structure alone is named for all frames
            like.SegmentIdentificationSequence[0].ReferencedSegmentNumber = position + 1
        item = DicomBytesIO()
        item.is_little_endian, item.is_implicit_VR = True, False
        write_dataset(item, like)
        yield struct.pack("<HHL", *ITEM, item.tell()) + item.getvalue()


def _pixels(frames: Sequence[Frame], planes: np.ndarray) -> Iterator[bytes]:
    """A bit a pixel, the first in the lowest bit, without a gap between frames (PS3.5 8.1.1)."""
    left = np.zeros(0, dtype=bool)
    for position, k in frames:
        bits = np.concatenate([left, plane_of_structure(planes, k, position).reshape(-1)])
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        left = bits[whole:]
    yield np.packbits(left, bitorder="little").tobytes()


def decimals(numbers: Iterable[float]) -> list[str]:
    """As decimal strings of at most 16 characters (PS3.5 6.2)."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(number)) for number in numbers]


def _head(tag: tuple[int, int], kind: bytes, length: int) -> bytes:
    """Of an element in Explicit VR Little Endian with a long length (PS3.5 7.1.2)."""
    return struct.pack("<HH2sxxL", *tag, kind, length)
