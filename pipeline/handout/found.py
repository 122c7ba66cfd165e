"""Where each structure of a prediction lies on the grid: extent, pieces, which sides of the scan it reaches. Knows no pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..data.census import slowest_axis
from ..inference.prediction import Prediction, StructureVolume
from ..io.volume import Volume
from ..report.screen import letter_of
from .pieces import count_pieces

SLAB_VOXELS = 2**24  # looked at together: bounds the memory, 4 bytes each
SIDES = {"R": "right side", "L": "left side", "A": "front", "P": "back", "H": "head end", "F": "foot end"}
EDGES = (("left edge", "right edge"), ("upper edge", "lower edge"), ("first slice", "last slice"))  # of what knows no patient


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """One structure of the table, whether it was found or not."""

    volume: StructureVolume
    position: int  # in the table
    profiles: tuple[np.ndarray, np.ndarray, np.ndarray]  # for each axis of the array the voxels in each plane across it
    pieces: int  # connected over faces, edges or corners
    largest: int  # voxels of the largest piece
    borders: tuple[str, ...]  # sides of the scan that it reaches, in words

    def planes(self, axis: int) -> np.ndarray:
        """Indices of the planes across an axis that hold any of it, ascending."""
        return np.flatnonzero(self.profiles[axis])

    def middle(self, axis: int) -> int:
        """The plane across an axis that halves its voxels."""
        total = np.cumsum(self.profiles[axis])
        return int(np.searchsorted(total, (total[-1] + 1) // 2))


def find_structures(prediction: Prediction) -> tuple[Found, ...]:
    """All structures in the table's order. Needs no second volume of the scan's size."""
    boxes = _boxes(prediction)
    return tuple(_found(prediction, position, boxes[position]) for position in range(len(prediction.table.structures)))


def _boxes(prediction: Prediction) -> list[tuple[slice, ...]]:
    """A box around each structure; the whole grid where it is easier."""
    array, table = prediction.labels.array, prediction.table
    whole = tuple(slice(0, length) for length in array.shape[:3])
    if table.overlapping:
        return [whole] * len(table.structures)
    objects = ndimage.find_objects(array, max_label=max(1, *table.values))
    return [(objects[value - 1] if value else None) or whole for value in table.values]


def _found(prediction: Prediction, position: int, box: tuple[slice, ...]) -> Found:
    labels, volume = prediction.labels, prediction.structures[position]
    profiles = tuple(np.zeros(length, dtype=np.int64) for length in labels.shape)
    pieces = largest = 0
    if volume.voxels:

        def slabs() -> Iterator[np.ndarray]:
            for places, mask in _slabs(prediction, position, box):
                for axis in range(3):
                    others = tuple(other for other in range(3) if other != axis)
                    profiles[axis][places[axis]] += np.count_nonzero(mask, axis=others)
                yield np.moveaxis(mask, slowest_axis(labels.array), 0)

        pieces, largest = count_pieces(slabs())
    return Found(
        volume=volume,
        position=position,
        profiles=(profiles[0], profiles[1], profiles[2]),
        pieces=pieces,
        largest=largest,
        borders=_borders(labels, profiles) if volume.at_border else (),
    )


def _slabs(prediction: Prediction, position: int, box: tuple[slice, ...]) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """(place, bool mask) of parts of the box, along the axis on which memory is slowest."""
    array, table = prediction.labels.array, prediction.table
    along = slowest_axis(array)
    plane = max(1, int(np.prod([part.stop - part.start for axis, part in enumerate(box) if axis != along])))
    thick = max(1, SLAB_VOXELS // plane)
    for start in range(box[along].start, box[along].stop, thick):
        part = slice(start, min(start + thick, box[along].stop))
        places = tuple(part if axis == along else box[axis] for axis in range(3))
        values = array[places]
        yield places, values[..., position] > 0 if table.overlapping else values == table.values[position]


def _borders(labels: Volume, profiles: tuple[np.ndarray, ...]) -> tuple[str, ...]:
    picture = labels.source.kind == "picture"
    words = []
    for axis, profile in enumerate(profiles):
        if axis == 2 and picture and labels.shape[2] == 1:
            continue  # a picture has no other side
        if len(profile) == 1:
            words.append("the only slice")
            continue
        step = labels.affine[:3, axis]
        ends = EDGES[axis] if picture else (SIDES[letter_of(-step)], SIDES[letter_of(step)])
        words += [word for word, voxels in zip(ends, (profile[0], profile[-1]), strict=True) if voxels]
    return tuple(words)
