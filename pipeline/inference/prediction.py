"""What a prediction is: the labels on the image's own grid, volumes in ml, warnings, timings and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..data.census import value_counts
from ..errors import Notice
from ..io.volume import Volume
from ..labels import LabelTable, Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureVolume:
    """How much of one structure was found."""

    structure: Structure
    voxels: int
    ml: float | None  # None where it is not known how large a voxel is: pictures, a slice without a thickness
    at_border: bool  # it reaches the edge of the image, so there may be more of it

    def __str__(self) -> str:
        if self.ml is None:
            return f"{self.structure.name}: {self.voxels} pixels{'' if self.voxels else ' (not found)'}"
        if self.voxels == 0:
            return f"{self.structure.name}: 0 ml (not found)"
        digits = ".2f" if self.ml >= 0.1 else ".2g"  # what was found is never written as 0.00
        return f"{self.structure.name}: {'>= ' if self.at_border else ''}{self.ml:{digits}} ml"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """One segmented volume."""

    image: Volume
    labels: Volume  # uint8, the image's grid; overlapping structures on a fourth axis
    table: LabelTable
    structures: tuple[StructureVolume, ...]
    probabilities: np.ndarray | None = None  # where asked for: float16 (columns, rows, slices, structures), 0 to 1
    uncertainty: np.ndarray | None = None  # where asked for: float16 (columns, rows, slices), 0 certain to 1
    notices: tuple[Notice, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)  # stage → seconds
    provenance: Mapping[str, str] = field(default_factory=dict)  # bundle, version, hash, software

    @property
    def ml(self) -> dict[str, float | None]:
        """Structure name → millilitres; None without a spacing. Where `structures` says at_border, there may be more."""
        return {found.structure.name: found.ml for found in self.structures}

    @property
    def name(self) -> str:
        """For folders and logs: nothing of the patient."""
        return self.image.source.short_name


def structure_volumes(labels: Volume, table: LabelTable) -> tuple[StructureVolume, ...]:
    """Voxels and millilitres of each structure.

    Args:
        labels: values of the table, or 0 and 1 per structure on the fourth axis; with the image's source.
    """
    known = labels.source.spacing_known and not _flat_picture(labels)
    return tuple(
        StructureVolume(
            structure=structure,
            voxels=voxels,
            ml=voxels * labels.voxel_ml if known else None,
            at_border=voxels > 0 and _touches_border(labels, table, position),
        )
        for position, (structure, voxels) in enumerate(zip(table.structures, _voxels(labels.array, table), strict=True))
    )


def _voxels(array: np.ndarray, table: LabelTable) -> list[int]:
    """Of each structure, without a second volume of this size."""
    if table.overlapping:
        return [int(np.count_nonzero(array[..., position])) for position in range(len(table.structures))]
    counts = value_counts(array)
    return [counts.get(value, 0) for value in table.values]


def _flat_picture(volume: Volume) -> bool:
    """Without a depth, whatever its pixels measure."""
    return volume.source.kind == "picture" and volume.shape[2] == 1


def _touches_border(labels: Volume, table: LabelTable, position: int) -> bool:
    """In the first or last column, row or slice; a single slice of a patient is both, a picture has no other side."""
    axes = range(2 if _flat_picture(labels) else 3)
    sides = (labels.array[(*(slice(None),) * axis, end)] for axis in axes for end in (0, -1))
    if table.overlapping:
        return any(bool(side[..., position].any()) for side in sides)
    return any(bool((side == table.values[position]).any()) for side in sides)
