"""Which values occur in a mask, and how often. Knows no label table and no file."""

from __future__ import annotations

import numpy as np

MOST_VALUES = 1000  # of a mask that holds grey values only the most frequent are worth naming


def value_counts(mask: np.ndarray) -> dict[float, int]:
    """Value → number of voxels, in order of the values; NaN counts as one value.

    Whole numbers from 0 to 65535 are counted without sorting, which is what masks hold.
    """
    if mask.dtype.kind == "b":
        mask = mask.view(np.uint8)
    if mask.dtype.kind in "iu" and mask.size and mask.min() >= 0 and (most := int(mask.max())) <= np.iinfo(np.uint16).max:
        counts = np.zeros(most + 1, dtype=np.int64)
        for plane in np.moveaxis(mask, slowest_axis(mask), 0):  # one by one: bincount takes 8 bytes a voxel
            counts += np.bincount(plane.reshape(-1).astype(np.intp), minlength=len(counts))
        return {float(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, times = np.unique(mask, return_counts=True)
    if len(values) > MOST_VALUES:
        kept = np.sort(np.argsort(-times, kind="stable")[:MOST_VALUES])
        values, times = values[kept], times[kept]
    return {float(value): int(n) for value, n in zip(values, times, strict=True)}


def slowest_axis(array: np.ndarray) -> int:
    """Of the first three, the one along which neighbours lie furthest apart in memory: planes across it are read fastest."""
    return int(np.argmax(np.abs(array.strides[:3])))


def values_text(counts: dict[float, int], *, most: int = 6) -> str:
    """'0 (51200 voxels), 0.5 (3), 7 (12)', the most frequent of many."""
    shown = sorted(sorted(counts, key=lambda v: -counts[v])[:most])
    more = f" and {len(counts) - most} more" if len(counts) > most else ""
    return ", ".join(f"{value:g} ({counts[value]} voxel{'s' if counts[value] != 1 else ''})" for value in shown) + more
