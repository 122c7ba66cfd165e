"""How sure the network was, voxel by voxel: the probabilities of the structures, and their entropy. For those who ask."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..bundle.recipe import Recipe
from ..data.slice_grid import slice_grid
from ..io.volume import Volume
from ..labels import LabelTable
from .segment import Place


class Maps:
    """Collects, slice after slice, what `segment` decides from. Where it does not look (air around the body) there is nothing:
    probability 0, entropy 0.

    Probabilities are calibrated (scores divided by the recipe's temperature before softmax or sigmoid) and are those of the
    network: post-processing changes labels, not them.

    Args:
        volume: that is segmented.
        table: the structures wanted, all or some of the recipe's.
        probabilities, uncertainty: which of the two to collect; two bytes a voxel and structure, and two a voxel.
    """

    def __init__(
        self, volume: Volume, recipe: Recipe, table: LabelTable, *, probabilities: bool = False, uncertainty: bool = False
    ) -> None:
        self._grid = slice_grid(volume.shape, volume.affine, recipe.preprocessing)
        self._softmax, self._temperature = recipe.head == "softmax", recipe.temperature
        first = 1 if self._softmax else 0  # channel 0 is the background's
        self._channels = [recipe.table.names.index(name) + first for name in table.names]
        shape = (self._grid.slices, self._grid.source_rows, self._grid.source_columns)
        self._probabilities = np.zeros((*shape, len(self._channels)), dtype=np.float16) if probabilities else None
        self._uncertainty = np.zeros(shape, dtype=np.float16) if uncertainty else None

    @property
    def probabilities(self) -> np.ndarray | None:
        """float16 (columns, rows, slices, structures) from 0 to 1, in the order of the table; on the volume's own grid."""
        return None if self._probabilities is None else self._grid.turn_back(self._probabilities)

    @property
    def uncertainty(self) -> np.ndarray | None:
        """float16 (columns, rows, slices): 0 where the network is certain, 1 where it can't tell at all."""
        return None if self._uncertainty is None else self._grid.turn_back(self._uncertainty)

    def __call__(self, place: Place, scores: Tensor) -> None:
        """Take in the scores (1, K, rows, columns) of this place."""
        if self._probabilities is None and self._uncertainty is None:
            return
        logs, counter_logs = self._logs(scores[0].float() / self._temperature)
        if self._probabilities is not None:
            self._probabilities[place] = logs[self._channels].exp().permute(1, 2, 0).cpu().numpy()
        if self._uncertainty is not None:
            self._uncertainty[place] = self._entropy(logs, counter_logs).cpu().numpy()

    def _logs(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logarithms of the probabilities (K, rows, columns), and of their counter-probabilities where each class is alone."""
        if self._softmax:
            return scores.log_softmax(dim=0), None
        return torch.nn.functional.logsigmoid(scores), torch.nn.functional.logsigmoid(-scores)

    def _entropy(self, logs: Tensor, counter_logs: Tensor | None) -> Tensor:
        """Of all classes together, as a share of the largest possible; where structures overlap, of the least certain of those
        wanted. Source: Shannon (1948), section 6."""
        if counter_logs is None:
            return -(logs.exp() * logs).sum(dim=0) / math.log(len(logs))
        each = -(logs.exp() * logs + counter_logs.exp() * counter_logs)[self._channels]
        return each.amax(dim=0) / math.log(2)
