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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What happens to each value of one channel of one volume: clipped, less the centre, divided by the scale."""

    low: float
    high: float
    centre: float = 0.0
    scale: float = 1.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Any shape, any number type → float32 of the same shape, worked out in double precision."""
        if self.low == self.high:  # a constant volume
            return np.zeros(values.shape, dtype=np.float32)
        wide = values.astype(np.float64)
        np.clip(wide, self.low, self.high, out=wide)
        wide -= self.centre
        wide /= self.scale
        return wide.astype(np.float32)


AS_STORED = Scaling(low=-np.inf, high=np.inf)


def scaling(array: np.ndarray, how: Normalisation) -> Scaling:
    """How one channel of one volume is scaled: its statistics, taken once, in double precision over all of it.

    Args:
        array: any shape, any number type.
    Returns: under percentiles and zscore a constant volume becomes 0; where the two percentiles are one value, the smallest and
        the largest voxel take their place.
    Raises: UserError for NaN or infinite voxels.
    """
    _refuse_not_finite(array)
    if how.kind == "none":
        return AS_STORED
    if how.kind == "window":
        return _between(how.low, how.high)
    if how.kind == "foreground":
        return Scaling(low=how.low, high=how.high, centre=how.mean, scale=how.deviation)
    low, high = (float(value) for value in np.percentile(array, (how.low, how.high)))
    if low == high:  # almost all voxels are alike, as in a dark picture with few bright spots: keep what differs
        low, high = float(array.min()), float(array.max())
    if low == high or how.kind == "percentiles":
        return _between(low, high)
    # contiguous: the sum's last bit depends on the order of the voxels in memory, and the mask must not
    mean, deviation = _mean_and_deviation(np.ascontiguousarray(array).reshape(-1), low, high)
    return Scaling(low=low, high=high, centre=mean, scale=deviation)


def normalise(array: np.ndarray, how: Normalisation) -> np.ndarray:
    """One channel of one volume, scaled as `scaling` says; float32 of the same shape."""
    scale = scaling(array, how)
    flat = np.ascontiguousarray(array).reshape(-1)
    scaled = np.empty(flat.shape, dtype=np.float32)
    for part in _parts(flat.size):
        scaled[part] = scale(flat[part])
    return scaled.reshape(array.shape)


def _between(low: float, high: float) -> Scaling:
    return Scaling(low=low, high=high, centre=(low + high) / 2, scale=(high - low) / 2)


def _refuse_not_finite(array: np.ndarray) -> None:
    """Slice by slice: the truth about every voxel would take a quarter of the volume's memory."""
    if array.dtype.kind == "f":
        wrong = sum(int((~np.isfinite(part)).sum()) for part in array)
        if wrong:
            raise UserError(f"{wrong} voxels are NaN or infinite")


def _mean_and_deviation(flat: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Of the clipped values; the deviation from a second pass, since squares of large values would swallow small ones."""
    mean = sum(float(np.clip(flat[part].astype(np.float64), low, high).sum()) for part in _parts(flat.size)) / flat.size
    squares = (np.square(np.clip(flat[part].astype(np.float64), low, high) - mean).sum() for part in _parts(flat.size))
    return mean, float(np.sqrt(sum(map(float, squares)) / flat.size))


def _parts(size: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, size, CHUNK))
