"""Intensities to what a network likes: one function for training, bundle and clinic. Knows nothing of geometry or files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError

CHUNK = 1 << 22  # voxels at a time: in double precision a whole CT would take 2 GB


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """How the intensities of one volume are scaled.

    window: Hounsfield units (or any fixed scale) from `low` to `high` become -1 to 1, clipped. For CT.
    foreground: clipped to Hounsfield units `low` to `high`, then less `mean` and divided by `deviation`; all four are those of
        the voxels inside the structures, over the training cases. For CT.
    percentiles: as window, with the volume's own percentiles `low` and `high` (0 to 100). For pictures and X-ray.
    zscore: clipped to the percentiles `low` and `high`, then mean 0 and standard deviation 1 of the volume. For MR.
    none: as stored.
    """

    kind: Literal["window", "foreground", "percentiles", "zscore", "none"] = "zscore"
    low: float = 0.5
    high: float = 99.5
    mean: float = 0.0  # foreground only
    deviation: float = 1.0  # foreground only

    @property
    def by_units(self) -> bool:
        """Whether `low` and `high` are grey values that mean the same in every volume, and not percentiles of each."""
        return self.kind in ("window", "foreground")

    @property
    def limits(self) -> tuple[float, float] | None:
        """Between which values every normalised voxel lies, in every volume; None where that depends on the volume."""
        if self.kind == "foreground":
            return (self.low - self.mean) / self.deviation, (self.high - self.mean) / self.deviation
        return (-1.0, 1.0) if self.kind in ("window", "percentiles") else None

    def problems(self) -> list[str]:
        """What is wrong with these settings, in words; empty when nothing is."""
        if self.kind == "none":
            return []
        if not self.low < self.high:  # NaN is below nothing
            return [f"normalisation.low {self.low:g} must be below normalisation.high {self.high:g}"]
        if not self.by_units and not (self.low >= 0 and self.high <= 100):
            return [f"normalisation percentiles must lie in 0 to 100, are {self.low:g} and {self.high:g}"]
        if self.kind == "foreground":
            return self._foreground_problems()
        return []

    def _foreground_problems(self) -> list[str]:
        found = []
        if not 0 < self.deviation < float("inf"):
            found.append(f"normalisation.deviation must be above 0, is {self.deviation:g}")
        if not self.low <= self.mean <= self.high:
            found.append(f"normalisation.mean must lie in {self.low:g} to {self.high:g}, is {self.mean:g}")
        return found


def normalise(array: np.ndarray, how: Normalisation) -> np.ndarray:
    """One channel of one volume, scaled.

    Args:
        array: any shape, any number type; statistics are taken in double precision over all of it.
    Returns: float32 of the same shape. A constant volume becomes 0 under percentiles and zscore; where the two percentiles are
        one value, the smallest and the largest voxel take their place.
    Raises: UserError for NaN or infinite voxels.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{int((~np.isfinite(array)).sum())} voxels are NaN or infinite")
    if how.kind == "none":
        return array.astype(np.float32)
    low, high = how.low, how.high
    if not how.by_units:
        low, high = (float(value) for value in np.percentile(array, (how.low, how.high)))
        if low == high:  # almost all voxels are alike, as in a dark picture with few bright spots: keep what differs
            low, high = float(array.min()), float(array.max())
        if low == high:
            return np.zeros(array.shape, dtype=np.float32)
    # contiguous: the sum's last bit depends on the order of the voxels in memory, and the mask must not
    flat = np.ascontiguousarray(array).reshape(-1)
    centre, scale = _centre_and_scale(flat, how, low, high)
    scaled = np.empty(flat.shape, dtype=np.float32)
    for part in _parts(flat.size):
        scaled[part] = (np.clip(flat[part].astype(np.float64), low, high) - centre) / scale
    return scaled.reshape(array.shape)


def _centre_and_scale(flat: np.ndarray, how: Normalisation, low: float, high: float) -> tuple[float, float]:
    """Which of the clipped values becomes 0, and how far from it 1 lies."""
    if how.kind == "foreground":
        return how.mean, how.deviation
    return _mean_and_deviation(flat, low, high) if how.kind == "zscore" else ((low + high) / 2, (high - low) / 2)


def _mean_and_deviation(flat: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Of the clipped values; the deviation from a second pass, since squares of large values would swallow small ones."""
    mean = sum(float(np.clip(flat[part].astype(np.float64), low, high).sum()) for part in _parts(flat.size)) / flat.size
    squares = (np.square(np.clip(flat[part].astype(np.float64), low, high) - mean).sum() for part in _parts(flat.size))
    return mean, float(np.sqrt(sum(map(float, squares)) / flat.size))


def _parts(size: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, size, CHUNK))
