"""A network's answer averaged over mirror images of its input. Knows nothing of training or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from ..errors import UserError
from .decide import Head
from .mean_scores import mean_scores
from .tiling import Window

# axis of a slice along which it is mirrored ("rows" or "columns") → places in the label table that change names in the mirror
Flips = Mapping[str, Sequence[tuple[int, int]]]
DIMENSIONS = {"rows": -2, "columns": -1}


class Mirrored(nn.Module):
    """The mean of a network's probabilities over the slice and its mirror images along each axis, and along both.

    Given as scores whose softmax (or sigmoid) is that mean, so that whatever takes a network's scores takes these.

    Args:
        network: scores of the size of the image, as `WholeSlice` gives them.
        flips: the axes, with the pairs of structures that change names in that mirror.
    Shapes: (B, C, H, W) → (B, K, H, W).
    """

    def __init__(self, network: nn.Module, flips: Flips, head: Head) -> None:
        super().__init__()
        self.network = network
        self.head = head
        # each mirror image: the dimensions that are turned, and the pairs of all of them
        axes = [[None, axis] for axis in flips]
        self.images = [[axis for axis in some if axis] for some in product(*axes)]
        self.flips = {axis: [tuple(pair) for pair in pairs] for axis, pairs in flips.items()}

    def forward(self, image: Tensor, window: Window | None = None) -> Tensor:
        """Of a window, if one is given: that part of the whole image's."""
        return mean_scores((self._scores(image, axes, window) for axes in self.images), self.head)

    def _scores(self, image: Tensor, axes: Sequence[str], window: Window | None) -> Tensor:
        """Of the image mirrored along these axes, turned back, with the structures under their own names."""
        dimensions = [DIMENSIONS[axis] for axis in axes]
        turned = torch.flip(image, dimensions) if axes else image
        scores: Tensor = self.network(turned) if window is None else self.network(turned, _in_mirror(window, image, axes))
        if not axes:
            return scores
        order = list(range(scores.shape[1]))
        first = 1 if self.head == "softmax" else 0
        for axis in axes:
            for one, other in self.flips[axis]:
                order[one + first], order[other + first] = order[other + first], order[one + first]
        return torch.flip(scores[:, order], dimensions)


def _in_mirror(window: Window, image: Tensor, axes: Sequence[str]) -> Window:
    """Where the window lies in the image mirrored along these axes."""
    rows, columns = (
        (length - last, length - first) if axis in axes else (first, last)
        for axis, length, (first, last) in zip(("rows", "columns"), image.shape[-2:], window, strict=True)
    )
    return rows, columns


def mirrored(network: nn.Module, flips: Flips, head: Head) -> Mirrored:
    """The network with its mirror images. Raises: UserError where it never saw any."""
    if not flips:
        raise UserError(
            "the network was trained without mirror images (augmentation.flips), so it does not know what they show",
            where="--flips",
            next="Leave it away, or train with flips.",
        )
    return Mirrored(network, flips, head)
