"""The headers of a volume's source slices, read again for whoever writes DICOM that refers to them. Reads no pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ..geometry import ras_from_lps
from ..volume import Source
from .archive import opened
from .elements import Damaged, read_header
from .frames import Frame, frames_of
from .stack import frame_plane

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SAME_PLACE_MM = 1e-3  # a header read twice says the same; this only allows for rounding in between


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceHeader:
    """One slice as its source describes it."""

    dataset: Dataset  # of the whole file, without pixels; slices of one multi-frame file share it
    frame: Frame  # place (LPS, mm), size, UIDs

    @property
    def frame_number(self) -> int | None:
        """From 1, for a reference; None where the object has a single frame and is referred to as a whole."""
        return self.frame.index + 1 if self.frame.frame_count > 1 else None


def source_headers(source: Source) -> tuple[SliceHeader, ...]:
    """One header a source slice, in the order of `source.slice_files` (along +normal).

    Args:
        source: of a volume read from DICOM; a zip is opened again.
    Raises: UserError where a file is gone, or is not the SOP Instance, or does not lie at the place, that was read before.
    """
    if source.kind != "dicom" or not source.slice_files:
        raise ValueError("only volumes that were read from DICOM have source headers")
    if source.geometry is None or not len(source.slice_files) == len(source.sop_uids) == len(source.frame_numbers):
        raise ValueError("the source does not name one file, SOP Instance and frame a slice")
    known: dict[Path, list[SliceHeader]] = {}
    found: list[SliceHeader] = []
    with _real_files(source) as files:
        for k, file in enumerate(files):
            if file not in known:
                known[file] = _slices_of(file, source.slice_files[k])
            number = source.frame_numbers[k]
            if number > len(known[file]) or known[file][number - 1].frame.sop_uid != source.sop_uids[k]:
                raise _changed(source.slice_files[k], "is not the image that was segmented")
            found.append(known[file][number - 1])
    for k, header in enumerate(found):
        if np.abs(corners_of(header.frame) - source.geometry.corners_mm[k]).max() > SAME_PLACE_MM:
            raise _changed(source.slice_files[k], "lies at another place than the slice that was segmented")
    return tuple(found)


def corners_of(frame: Frame) -> np.ndarray:
    """(4, 3), RAS mm: first voxel, last column of the first row, first column of the last row, last voxel."""
    origin, column_step, row_step = frame_plane(frame)
    far_column, far_row = column_step * (frame.columns - 1), row_step * (frame.rows - 1)
    return ras_from_lps(np.stack([origin, origin + far_column, origin + far_row, origin + far_column + far_row]))


@contextmanager
def _real_files(source: Source) -> Iterator[list[Path]]:
    """The slices' files, out of the zip where there is one."""
    with opened(source.path) as root:
        yield [file if root == source.path else root / file.relative_to(source.path) for file in source.slice_files]


def _slices_of(file: Path, shown: Path) -> list[SliceHeader]:
    """All frames of one file."""
    try:
        if not file.is_file():
            raise _changed(shown, "is gone")
        with file.open("rb") as stream:
            dataset = read_header(stream, force=True)
        return [SliceHeader(dataset=dataset, frame=frame) for frame in frames_of(dataset, file, patient="")]
    except (Damaged, OSError) as error:
        raise _changed(shown, f"cannot be read any more ({error})") from error


def _changed(file: Path, what: str) -> UserError:
    return UserError(
        f"the file {what}: the series changed while it was being segmented", where=file, next="Segment the series again."
    )
