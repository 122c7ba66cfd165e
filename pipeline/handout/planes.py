"""The labels as the source's slices hold them: one plane a slice, whatever grid the volume is on. Knows no formats."""

from __future__ import annotations

import hashlib

import numpy as np

from .. import __version__
from ..inference.prediction import Prediction
from .study import made_uid


def source_planes(prediction: Prediction) -> np.ndarray:
    """Which structure each pixel of each source slice belongs to.

    Returns: (slices, rows, columns) with the position in the table plus one, 0 for none of them; for overlapping structures
        (slices, rows, columns, structures) of 0 and 1. uint8, or uint16 from 255 structures on.
    """
    array, table, source = prediction.labels.array, prediction.table, prediction.image.source
    picked = array[:, :, list(source.shown_in)] if source.shown_in else array
    kind = np.uint8 if len(table.structures) < 255 else np.uint16
    if table.overlapping:
        return np.ascontiguousarray((picked > 0).transpose(2, 1, 0, 3), dtype=kind)
    positions = np.full(256, len(table.structures) + 1, dtype=kind)
    positions[table.background] = 0
    for position, value in enumerate(table.values):
        positions[value] = position + 1
    planes = np.ascontiguousarray(positions[picked].transpose(2, 1, 0))
    if planes.max(initial=0) > len(table.structures):
        raise ValueError("the labels hold values that the table does not name")
    return planes


def plane_of_structure(planes: np.ndarray, k: int, position: int) -> np.ndarray:
    """Bool (rows, columns): one structure, by its position in the table, on source slice k."""
    return np.asarray(planes[k, ..., position] > 0 if planes.ndim == 4 else planes[k] == position + 1)


def object_uid(prediction: Prediction, kind: str) -> str:
    """Equal predictions on equal series get equal UIDs; any other table, mask, bundle or version gets its own."""
    source = prediction.image.source
    return made_uid(
        kind,
        __version__,
        prediction.provenance.get("bundle_sha256", ""),
        repr(prediction.table),
        "\n".join(f"{uid} {number}" for uid, number in zip(source.sop_uids, source.frame_numbers, strict=True)),
        hashlib.sha256(np.ascontiguousarray(prediction.labels.array).tobytes()).digest(),
    )
