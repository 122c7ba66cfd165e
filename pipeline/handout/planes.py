"""The labels as the source's slices hold them: one plane a slice, whatever grid the volume is on. Knows no formats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from .. import __version__
from ..inference.prediction import Prediction
from .study import made_uid


def source_planes(prediction: Prediction) -> np.ndarray:
    """Which structure each pixel of each source slice belongs to.

    Returns: (slices, rows, columns) with the position in the table plus one, 0 for none of them; for overlapping structures
        (slices, rows, columns, structures) of 0 and 1. uint8, or uint16 from 255 structures on. Not to be written to: where the
        labels lie so already, these are the labels.
    """
    array, table, source = prediction.labels.array, prediction.table, prediction.image.source
    turned = np.swapaxes(array, 0, 2)  # (slices, rows, columns[, structures])
    numbers = list(source.shown_in) or list(range(len(turned)))
    kind = np.uint8 if len(table.structures) < 255 else np.uint16
    if table.overlapping:
        return _by_plane(turned, numbers, kind, lambda plane, out: np.greater(plane, 0, out=out, casting="unsafe"))
    positions = np.full(256, len(table.structures) + 1, dtype=kind)
    positions[table.background] = 0
    for position, value in enumerate(table.values):
        positions[value] = position + 1
    as_they_are = positions[: len(table.structures) + 1].tolist() == list(range(len(table.structures) + 1))
    if as_they_are and numbers == list(range(len(turned))) and turned.flags.c_contiguous and turned.dtype == kind:
        planes = turned
    else:
        planes = _by_plane(turned, numbers, kind, lambda plane, out: np.take(positions, plane, out=out))
    if planes.max(initial=0) > len(table.structures):
        raise ValueError("the labels hold values that the table does not name")
    return planes


def _by_plane(
    turned: np.ndarray, numbers: Sequence[int], kind: type[np.generic], write: Callable[[np.ndarray, np.ndarray], object]
) -> np.ndarray:
    planes = np.empty((len(numbers), *turned.shape[1:]), dtype=kind)
    for plane, number in zip(planes, numbers, strict=True):
        write(turned[number], plane)
    return planes


def plane_of_structure(planes: np.ndarray, k: int, position: int) -> np.ndarray:
    """Bool (rows, columns): one structure, by its position in the table, on source slice k."""
    return np.asarray(planes[k, ..., position] > 0 if planes.ndim == 4 else planes[k] == position + 1)


def object_uid(prediction: Prediction, kind: str) -> str:
    """Equal predictions on equal series get equal UIDs; any other table, mask, bundle or version gets its own."""
    source, mask = prediction.image.source, hashlib.sha256(repr(prediction.labels.array.shape).encode())
    for plane in np.moveaxis(prediction.labels.array, 2, 0):  # one by one: a large mask is not copied
        mask.update(np.ascontiguousarray(plane).data)
    return made_uid(
        kind,
        __version__,
        prediction.provenance.get("bundle_sha256", ""),
        repr(prediction.table),
        "\n".join(f"{uid} {number}" for uid, number in zip(source.sop_uids, source.frame_numbers, strict=True)),
        mask.digest(),
    )
