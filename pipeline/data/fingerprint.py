"""The facts of a data set that decide how it is trained on: shapes, spacings, intensities, how often each class occurs.

Knows nothing of networks. Some of the cases are read, spread over the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..io.geometry import slice_axis
from ..labels import LabelTable
from ..progress import bar
from .census import value_counts
from .load import load_image, load_label
from .manifest import Case, Manifest
from .slice_grid import Plane, Preprocessing, SliceGrid, slice_grid

CASES_READ = 12  # more hardly move a median or a percentile
VALUES_KEPT = 20_000  # of the voxels inside the structures, of each case: all cases count alike
ANISOTROPIC = 1.5  # slice distance to pixel size from which a volume shows in which plane it was acquired
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensities:
    """Grey values inside the structures, of the first channel; Hounsfield units for CT."""

    low: float  # the 0.5 percentile
    high: float  # the 99.5 percentile
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseFacts:
    """What is kept of a case that was read."""

    shape: tuple[int, int, int]  # (columns, rows, slices) as stored
    affine: np.ndarray  # 4x4, voxel index → mm in RAS+
    channels: int
    dicom: bool
    extent_mm: tuple[float, float, float] | None  # of all structures together, along R, A and S; None: there is none

    def grid(self, settings: Preprocessing) -> SliceGrid:
        """How this case is sliced."""
        return slice_grid(self.shape, self.affine, settings)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Along columns, rows and slices as stored."""
        return tuple(float(mm) for mm in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def plane(self) -> Plane | None:
        """In which it was acquired; None where neither spacing nor DICOM shows it: cubes in a file whose axes say nothing."""
        across = slice_axis(self.spacing_mm, ANISOTROPIC)
        if across is None:
            if not self.dicom:
                return None
            across = 2
        return next(plane for plane in PLANES if self.grid(Preprocessing(plane=plane)).order[2] == across)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """The facts of a data set."""

    cases: int  # how many it has
    read: tuple[CaseFacts, ...]
    modality: str  # the most frequent
    spacing_known: bool  # of every case
    pictures: bool  # no case has slices with a place in a patient
    shares: dict[str, float]  # structure → share of all voxels read
    inside: Intensities | None  # None: no case that was read holds a structure

    @property
    def channels(self) -> int:
        """Most channels of a case."""
        return max(case.channels for case in self.read)

    def text(self) -> str:
        """In one line: '160 cases, 12 of them read: MR, median 36 x 50 x 35 voxels, ...'."""
        shape = " x ".join(f"{np.median([case.shape[axis] for case in self.read]):.0f}" for axis in range(3))
        size = f"median {shape} voxels"
        if self.spacing_known:
            mm = " x ".join(f"{np.median([case.spacing_mm[axis] for case in self.read]):.3g}" for axis in range(3))
            size += f" of {mm} mm"
        shares = ", ".join(f"{name} {share:.2%}" for name, share in self.shares.items())
        return f"{self.cases} cases, {len(self.read)} of them read: {self.modality or 'unknown modality'}, {size}; {shares}"


def fingerprint(manifest: Manifest, cases: Sequence[Case]) -> Fingerprint:
    """The facts of these cases; some of them, spread over the list, are read one after the other.

    Raises: UserError for a case that cannot be read.
    """
    facts: list[CaseFacts] = []
    values: list[np.ndarray] = []
    voxels, counts = 0, np.zeros(len(manifest.table.structures), dtype=np.int64)
    for case in bar(cases[:: -(-len(cases) // CASES_READ)], title="looking", unit="case"):
        image = load_image(manifest, case)
        label = load_label(manifest, case, image).array
        channels = image.array.shape[3] if image.array.ndim == 4 else 1
        mask = np.asarray(label.any(axis=-1) if label.ndim == 4 else label != manifest.table.background)
        one = CaseFacts(
            shape=image.shape,
            affine=image.affine,
            channels=channels,
            dicom=image.source.kind == "dicom",
            extent_mm=_extent_mm(mask, image.affine),
        )
        facts.append(one)
        values.append(_inside(image.array, mask))
        counts += _counts(label, manifest.table)
        voxels += int(np.prod(image.shape))
    return Fingerprint(
        cases=len(cases),
        read=tuple(facts),
        modality=Counter(case.modality for case in cases).most_common(1)[0][0],
        spacing_known=all(case.spacing_known for case in cases),
        pictures=all(case.shape[2] == 1 or not case.spacing_known for case in cases),
        shares={name: float(n) / voxels for name, n in zip(manifest.table.names, counts, strict=True)},
        inside=_intensities(np.concatenate(values)),
    )


def _extent_mm(mask: np.ndarray, affine: np.ndarray) -> tuple[float, float, float] | None:
    """Sides of the box around the mask, along the anatomical axes that the array's are closest to."""
    from nibabel.orientations import io_orientation

    if not mask.any():
        return None
    mm = np.linalg.norm(affine[:3, :3], axis=0)
    sides = np.zeros(3)
    for axis, anatomical in enumerate(io_orientation(affine)[:, 0].astype(int)):
        there = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        sides[anatomical] = (there[-1] - there[0] + 1) * mm[axis]
    return float(sides[0]), float(sides[1]), float(sides[2])


def _inside(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Some of the finite values of the first channel within the mask, evenly picked."""
    first = image[..., 0] if image.ndim == 4 else image
    inside = first[mask][:: max(1, int(mask.sum()) // VALUES_KEPT)].astype(np.float64)
    return np.asarray(inside[np.isfinite(inside)])


def _counts(label: np.ndarray, table: LabelTable) -> np.ndarray:
    """Voxels of each structure."""
    if label.ndim == 4:
        return np.asarray(np.count_nonzero(label, axis=(0, 1, 2)))
    found = value_counts(label)
    return np.array([found.get(float(value), 0) for value in table.values])


def _intensities(values: np.ndarray) -> Intensities | None:
    if values.size == 0:
        return None
    low, high = np.percentile(values, [0.5, 99.5])
    return Intensities(low=float(low), high=float(high), mean=float(values.mean()), deviation=float(values.std()))
