"""The slices of one volume as the network sees them, made one after the other: the same as `to_slices` gives, without holding
a whole volume of floats beside the scan."""

from __future__ import annotations

import numpy as np

from ..io.volume import Volume
from .normalise import scaling
from .slice_grid import Preprocessing, SliceGrid, neighbour_numbers, resample_slices


class SliceStream:
    """Slices with their neighbours, in any order; asked for from first to last, each is prepared once.

    Raises: UserError for NaN or infinite voxels, when it is made.
    """

    def __init__(self, volume: Volume, grid: SliceGrid, settings: Preprocessing) -> None:
        channels = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
        self.grid = grid
        self.neighbours = settings.neighbours
        self._scalings = [scaling(channels[..., c], settings.normalisation) for c in range(channels.shape[-1])]
        self._turned = [grid.turn(channels[..., c]) for c in range(channels.shape[-1])]
        self._prepared: dict[int, np.ndarray] = {}  # the last few

    def __len__(self) -> int:
        return self.grid.slices

    def __getitem__(self, index: int) -> np.ndarray:
        """One slice with its neighbours as channels: ((2 * neighbours + 1) * channels, rows, columns) float32."""
        numbers = neighbour_numbers(index, self.neighbours, len(self))
        self._prepared = {
            number: self._prepared[number] if number in self._prepared else self._slice(number) for number in set(numbers)
        }
        if self.neighbours == 0:
            return self._prepared[index]
        return np.concatenate([self._prepared[number] for number in numbers])

    def _slice(self, number: int) -> np.ndarray:
        """(channels, rows, columns)."""
        planes = [scale(turned[number]) for scale, turned in zip(self._scalings, self._turned, strict=True)]
        return resample_slices(np.stack(planes), self.grid.rows, self.grid.columns)
