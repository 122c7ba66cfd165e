"""Look at whatever a user points at, as `read_volume` would, and say what is there. Judges nothing itself."""

from __future__ import annotations

from pathlib import Path

from .geometry import SHEAR_MM, shear_distance_mm
from .inspection import Inspection, VolumeRow
from .nifti import looks_like_nifti
from .orient import plane_of
from .paths import existing
from .picture import looks_like_picture
from .read import read_volume


def inspect(
    path: Path | str, *, series: str = "", volume: str = "", accept_irregular: bool = False, pixels: bool = True
) -> Inspection:
    """What is at a path, and what `read_volume` with the same words would take or refuse.

    Args:
        series, volume, accept_irregular: as in `read_volume`.
        pixels: of DICOM also read what would be taken, so that damaged pixels show; False is quicker.
    Raises: UserError where there is no image of any kind, or no series or volume of these names.
    """
    path = existing(path)
    if path.is_file() and (looks_like_nifti(path) or looks_like_picture(path)):
        return _of_file(path)
    from .dicom.inspect import inspect_dicom  # pydicom only where it is needed

    return inspect_dicom(path, series=series, volume=volume, accept_irregular=accept_irregular, pixels=pixels)


def _of_file(path: Path) -> Inspection:
    """A NIfTI file or a picture: there is one volume, or the reader's refusal."""
    found = read_volume(path)
    sheared = shear_distance_mm(found.affine, found.shape) > SHEAR_MM
    row = VolumeRow(
        series_number=None,
        series="",
        description="",
        modality=found.modality,
        volume="",
        size=found.shape,
        channels=found.array.shape[3] if found.array.ndim == 4 else 1,
        spacing_mm=found.spacing_mm if found.source.spacing_known else None,
        plane=plane_of(found.affine[:3, 2]) if found.source.kind != "picture" else "",
        geometry="sheared" if sheared else "regular",
        residual_mm=None,
        fault="",
        notices=(),
        words=(),
        taken=True,
    )
    return Inspection(
        path=path,
        kind=found.source.kind,
        patients=0,
        studies=0,
        series=0,
        rows=(row,),
        set_aside=(),
        volume=found,
        notices=found.source.notices,
        refusal=None,
        pixels_tried=True,
    )
