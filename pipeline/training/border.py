"""The paper's border weights: background between two cells weighs more, so that a network learns to part them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import default_collate

from ..data.samples import Sample

REACH_SIGMAS = 6.0  # a cell further away adds less than exp(-18), a hundred-millionth


def border_weights(mask: np.ndarray, *, weight: float, sigma_px: float) -> np.ndarray:
    """w0 exp(-(d1 + d2)^2 / (2 sigma^2)), d1 and d2 the distances to the nearest two cells; without the class weight w_c.

    Args:
        mask: (rows, columns), 0 for background. A cell is a connected part (over edges, not corners) of one value.
        weight: w0, 10 in the paper.
        sigma_px: 5 in the paper.
    Returns: (rows, columns) float32; 0 within cells, as in the paper's figure 3, and where there are fewer than two cells.
    Source: Ronneberger et al., arXiv:1505.04597, equation 2.
    """
    nearest = np.full(mask.shape, np.inf)
    second = nearest.copy()
    reach = int(np.ceil(REACH_SIGMAS * sigma_px))
    for value in np.unique(mask[mask > 0]):
        cells, _ = ndimage.label(mask == value)
        for number, box in enumerate(ndimage.find_objects(cells), start=1):
            around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
            distance = ndimage.distance_transform_edt(cells[around] != number)
            second[around] = np.minimum(second[around], np.maximum(nearest[around], distance))
            nearest[around] = np.minimum(nearest[around], distance)
    term = weight * np.exp(-((nearest + second) ** 2) / (2 * sigma_px**2))
    return np.where(mask == 0, term, 0).astype(np.float32)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class WithBorder:
    """Collates samples and adds their border weights, in the process that prepared them."""

    weight: float
    sigma_px: float

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Returns: the batch, with "border" (B, 1 or structures, H, W) float32 beside the labels."""
        batch: dict[str, Tensor] = default_collate(list(samples))
        borders = [
            [border_weights(mask, weight=self.weight, sigma_px=self.sigma_px) for mask in sample["label"].numpy()]
            for sample in samples
        ]
        return batch | {"border": torch.from_numpy(np.array(borders))}
