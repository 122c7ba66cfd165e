"""Intensities to what a network likes: one function for training, bundle and clinic. Knows nothing of geometry or files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """How the intensities of one volume are scaled.

    window: Hounsfield units (or any fixed scale) from `low` to `high` become -1 to 1, clipped. For CT.
    percentiles: as window, with the volume's own percentiles `low` and `high` (0 to 100). For pictures and X-ray.
    zscore: clipped to the percentiles `low` and `high`, then mean 0 and standard deviation 1 of the volume. For MR.
    none: as stored.
    """

    kind: Literal["window", "percentiles", "zscore", "none"] = "zscore"
    low: float = 0.5
    high: float = 99.5

    def problems(self) -> list[str]:
        """What is wrong with these settings, in words; empty when nothing is."""
        if self.kind == "none":
            return []
        if self.low >= self.high:
            return [f"normalisation.low {self.low:g} must be below normalisation.high {self.high:g}"]
        if self.kind != "window" and not (self.low >= 0 and self.high <= 100):
            return [f"normalisation percentiles must lie in 0 to 100, are {self.low:g} and {self.high:g}"]
        return []


def normalise(array: np.ndarray, how: Normalisation) -> np.ndarray:
    """One channel of one volume, scaled.

    Args:
        array: any shape, any number type; statistics are taken in double precision over all of it.
    Returns: float32 of the same shape. A constant volume becomes 0 under percentiles and zscore.
    Raises: UserError for NaN or infinite voxels.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{int((~np.isfinite(array)).sum())} voxels are NaN or infinite")
    if how.kind == "none":
        return array.astype(np.float32)
    low, high = how.low, how.high
    if how.kind != "window":
        low, high = (float(value) for value in np.percentile(array, (how.low, how.high)))
    # contiguous: the sum's last bit depends on the order of the voxels in memory, and the mask must not
    clipped = np.clip(np.ascontiguousarray(array, dtype=np.float64), low, high)
    if how.kind == "zscore":
        centre, scale = float(clipped.mean()), float(clipped.std())
    else:
        centre, scale = (low + high) / 2, (high - low) / 2
    if scale <= 0:
        return np.zeros(array.shape, dtype=np.float32)
    clipped -= centre
    clipped /= scale
    return clipped.astype(np.float32)
