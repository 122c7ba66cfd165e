"""What is done to the labels of a whole volume after the network: small pieces, all but the largest, holes. Knows no network.

Copied into every bundle, so that all ways to a mask share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..labels import LabelTable

TOUCHING = ndimage.generate_binary_structure(3, 3)  # voxels of one piece share a face, an edge or a corner


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is done to one structure, in this order. By default nothing."""

    smallest_ml: float = 0.0  # connected pieces of less than this are removed
    largest: bool = False  # of the connected pieces, the largest alone stays
    holes: bool = False  # background that the structure encloses on all sides becomes part of it

    def __bool__(self) -> bool:
        return self != Steps()

    def __str__(self) -> str:
        words = [f"pieces below {self.smallest_ml:g} ml removed"] if self.smallest_ml else []
        words += ["largest piece only"] if self.largest else []
        words += ["holes filled"] if self.holes else []
        return ", ".join(words) or "as the network says"


Postprocessing = Mapping[str, Steps]  # name of a structure → its steps; whoever is not named stays as it is


def postprocess(labels: np.ndarray, table: LabelTable, chosen: Postprocessing, voxel_ml: float) -> np.ndarray:
    """The labels after the steps of each structure, one structure after the other in the table's order.

    What is removed becomes background, never another structure; a hole is filled where it is background, so what lies in it
    (a lesion in an organ) stays. Overlapping structures do not touch each other.

    Args:
        labels: uint8 of the table's values, three axes in any order; overlapping structures: 0 and 1, on a fourth axis.
            Changed where they stand: those of a large scan are not held twice.
        voxel_ml: volume of a voxel.
    Returns: the same array.
    """
    for position, structure in enumerate(table.structures):
        steps = chosen.get(structure.name, Steps())
        if not steps:
            continue
        if table.overlapping:
            _apply(labels[..., position], 1, 0, steps, voxel_ml)
        else:
            _apply(labels, structure.value, table.background, steps, voxel_ml)
    return labels


def _apply(labels: np.ndarray, value: int, outside: int, steps: Steps, voxel_ml: float) -> None:
    """Change one structure in place."""
    box = bounding_box(labels, value)
    if box is None:
        return
    part = labels[box]
    inside = part == value
    if steps.largest or steps.smallest_ml > 0:
        numbers, voxels = pieces(inside)
        stays = voxels * voxel_ml >= steps.smallest_ml
        if steps.largest:
            stays &= np.arange(len(voxels)) == np.argmax(voxels)
        lost = inside & ~np.concatenate([[False], stays])[numbers]
        part[lost] = outside
        inside = inside & ~lost
    if steps.holes:
        part[holes(inside, whole=labels.shape) & (part == outside)] = value


def pieces(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected pieces. Returns: the number of its piece for each voxel, from 1 (0: none), and the voxels of each piece."""
    numbers, count = ndimage.label(mask, structure=TOUCHING)
    return numbers, np.bincount(numbers.reshape(-1), minlength=count + 1)[1:]


def holes(mask: np.ndarray, *, whole: tuple[int, ...]) -> np.ndarray:
    """What the mask encloses: voxels from which no way over faces leads out of the box without crossing the mask.

    A volume of one slice has no third direction: there a hole is enclosed within the slice.

    Args:
        mask: of the box around the structure.
        whole: shape of the volume in which the box lies.
    """
    if not mask.size:
        return mask
    numbers, count = ndimage.label(~mask)
    is_open = np.zeros(count + 1, dtype=bool)
    is_open[0] = True  # the mask itself
    for axis, length in enumerate(whole):
        if length > 1:
            for end in (0, -1):
                is_open[np.unique(numbers.take(end, axis=axis))] = True
    return ~is_open[numbers]


def bounding_box(labels: np.ndarray, value: int) -> tuple[slice, ...] | None:
    """The smallest box that holds a value; None where there is none."""
    marked, number = (labels, value) if value else ((labels == 0).view(np.uint8), 1)  # scipy does not look for 0
    found = ndimage.find_objects(marked, max_label=number)
    return found[number - 1] if len(found) >= number else None


def to_json(chosen: Postprocessing) -> dict[str, dict[str, Any]]:
    """Plain types, the inverse of `from_json`; structures to which nothing is done are left out."""
    return {name: asdict(steps) for name, steps in chosen.items() if steps}


def from_json(data: Mapping[str, Any], table: LabelTable) -> dict[str, Steps]:
    """The inverse of `to_json`. Raises: ValueError or TypeError for what the table or `Steps` do not know."""
    unknown = sorted(set(data) - set(table.names))
    if unknown:
        raise ValueError(f"postprocessing names {', '.join(unknown)}, which the label table does not hold")
    chosen = {}
    for name, settings in data.items():
        steps = Steps(**settings)
        if not (isinstance(steps.largest, bool) and isinstance(steps.holes, bool)):
            raise ValueError(f"postprocessing of {name}: largest and holes must be true or false")
        if not 0 <= steps.smallest_ml < math.inf:  # NaN lies nowhere
            raise ValueError(f"postprocessing of {name}: smallest_ml is {steps.smallest_ml}")
        chosen[name] = steps
    return chosen
