"""Read whatever a user points at (DICOM, NIfTI, picture) as one volume, by content and never by name."""

from __future__ import annotations

from pathlib import Path

from .labels import read_label_volume
from .nifti import looks_like_nifti, read_nifti
from .paths import existing
from .picture import looks_like_picture, read_picture
from .volume import Volume

__all__ = ["read_label_volume", "read_volume"]


def read_volume(
    path: Path | str,
    *,
    series: str = "",
    volume: str = "",
    pixel_size_mm: float | None = None,
    accept_irregular: bool = False,
    most_bytes: int | None = None,
) -> Volume:
    """The one volume at a path: a DICOM folder, file or zip, a NIfTI file, a grey PNG or TIFF.

    Args:
        path: what kind it is is decided by content.
        series: for DICOM with several series: number, whole Series Instance UID or its last 8 digits.
        volume: for a series of several volumes: the name that the refusal lists (time, echo, b-value, ...).
        pixel_size_mm: for pictures, which do not say; DICOM and NIfTI carry their own.
        accept_irregular: put a DICOM stack with holes or uneven distances on an even grid instead of refusing it.
        most_bytes: that the voxels of DICOM or NIfTI may take; None: as many as there are.
    Returns: (columns, rows, slices[, channels]) with its affine in RAS+ mm; CT in Hounsfield units.
    Raises: UserError when there is no volume, more than one, one that cannot be read right, or one that is too large.
    """
    path = existing(path)
    if path.is_file() and looks_like_nifti(path):
        return read_nifti(path, most_bytes=most_bytes)
    if path.is_file() and looks_like_picture(path):
        return read_picture(path, pixel_size_mm=pixel_size_mm)
    from .dicom.read import read_dicom  # pydicom only where it is needed

    return read_dicom(path, series=series, volume=volume, accept_irregular=accept_irregular, most_bytes=most_bytes)
