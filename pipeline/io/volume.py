"""One image volume with its place in the patient (mm, RAS+). Knows nothing of file formats or learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import Notice, UserError
from .geometry import Geometry, voxel_ml


def short_uid(uid: str) -> str:
    """The last eight digits: enough to tell two apart, too few to find a patient."""
    return "".join(c for c in uid if c.isdigit())[-8:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a volume came from. Only `short_name` may go into a file name or a log: the rest can hold patient data."""

    path: Path
    kind: Literal["dicom", "nifti", "picture", "array"]
    series_uid: str = ""
    series_number: int | None = None
    volume_name: str = ""  # what tells it from the other volumes of its series: "time 2", "b 1000"
    slice_files: tuple[Path, ...] = ()  # one a slice of the source, along +normal; DICOM only
    sop_uids: tuple[str, ...] = ()  # one a slice
    frame_numbers: tuple[int, ...] = ()  # one a slice, from 1: which frame of its file
    geometry: Geometry | None = None  # of the source's slices, as they were acquired
    shown_in: tuple[int, ...] = ()  # for each of the source's slices the volume's slice that holds its pixels; DICOM only
    spacing_known: bool = True  # False: a picture without a pixel size; no millimetres are claimed
    notices: tuple[Notice, ...] = ()
    files_set_aside: tuple[tuple[str, str], ...] = ()  # (file name, why)

    @property
    def short_name(self) -> str:
        """The file's stem; or series number, last 8 digits of its UID, and which of its volumes. Nothing of the patient."""
        if self.kind == "dicom":
            number = "0" if self.series_number is None else str(self.series_number)
            volume = "".join(c if c.isalnum() else "-" for c in self.volume_name)
            return "_".join(part for part in (f"series{number}", short_uid(self.series_uid), volume) if part)
        name = self.path.name
        for ending in (".nii.gz", ".nii", *(() if self.path.suffix == "" else (self.path.suffix,))):
            if name.endswith(ending):
                return name[: -len(ending)]
        return name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """An image or a label volume.

    array: (columns, rows, slices), or (columns, rows, slices, channels).
    affine: 4x4 float64, voxel index to mm in RAS+ (NIfTI's convention); may be sheared.
    modality: DICOM's code ("CT", "MR", "PT", ...), or "" where it is not known; CT arrays hold Hounsfield units.
    """

    array: np.ndarray
    affine: np.ndarray
    modality: str = ""
    source: Source = field(default_factory=lambda: Source(path=Path("array"), kind="array"))

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise ValueError(f"array must be (columns, rows, slices[, channels]), not {self.array.shape}")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"affine must be 4x4, not {affine.shape}")
        edges = np.linalg.norm(affine[:3, :3], axis=0)
        # judged by the angles alone: voxels of an electron microscope are millionths of a mm
        if not np.isfinite(affine).all() or edges.min() == 0 or abs(np.linalg.det(affine[:3, :3] / edges)) < 1e-6:
            raise UserError("the affine is singular or not finite: the header has no usable spacing", where=self.source.path)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices), without channels."""
        return self.array.shape[0], self.array.shape[1], self.array.shape[2]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Lengths of the affine's columns: between columns, between rows, between slices."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel."""
        return voxel_ml(self.affine)
