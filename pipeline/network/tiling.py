"""The paper's overlap-tile: any image through a network of fixed legal sizes, tile by tile, with the whole image's answer.

Knows nothing of files or millimetres. Two things make tiled equal whole (both are tested):
the image is mirrored at its border, and every tile starts at a multiple of the pooling stride of one common grid.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import UserError
from .sizes import DEFAULT_TILE, Design, input_side_for, output_side, reach
from .unet import Output


class SizedNetwork(Protocol):
    """An `OriginalUNet`, several of them as one, or what computes the same by other means."""

    design: Design
    output: Output

    def __call__(self, image: Tensor) -> Tensor: ...


class WholeSlice(nn.Module):
    """A U-Net whose output has the size of its input, for images of any size: it mirrors the border and tiles by itself.

    Args:
        network: the U-Net; its weights are shared, not copied.
        tile: largest input side of one tile, in pixels; the answer does not depend on it, the memory does.
    Shapes: (B, C, H, W) → (B, out_channels, H, W).
    Raises: UserError when the tile is smaller than the network's smallest legal side.
    Source: arXiv:1505.04597, figure 2.
    """

    def __init__(self, network: SizedNetwork, *, tile: int = DEFAULT_TILE) -> None:
        super().__init__()
        self.network = network
        self.tile = tile
        design = network.design
        if tile < _smallest_tile(network):
            smallest = _smallest_tile(network)
            raise UserError(f"a tile of {tile} px is smaller than the network allows", next=f"Smallest: {smallest}.")
        # With zero padding, a tile edge inside the image sees zeros where the whole image sees pixels: such edges get a context
        # as wide as a pixel can see, rounded up to the stride so that the pooling phase stays.
        self.context = design.border if design.padding == "valid" else -(-reach(design) // design.stride) * design.stride

    def forward(self, image: Tensor) -> Tensor:
        if self.network.output == "rescale":
            return self._rescaled(image)
        if self.network.design.padding == "valid":
            return self._valid(image)
        return self._same(image)

    def _rescaled(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        design = self.network.design
        sides = [max(design.smallest_side, side + -(side - design.smallest_side) % design.stride) for side in (height, width)]
        padded = mirror(image, (0, sides[0] - height), (0, sides[1] - width))
        return self.network(padded)[..., :height, :width]  # type: ignore[no-any-return]

    def _valid(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        (step_h, out_h), (step_w, out_w) = (self._step_and_output(side) for side in (height, width))
        tops, lefts = range(0, max(1, height - out_h + step_h), step_h), range(0, max(1, width - out_w + step_w), step_w)
        border = self.context
        padded = mirror(
            image,
            (border, border + tops[-1] + out_h - height),
            (border, border + lefts[-1] + out_w - width),
        )
        result = image.new_empty(image.shape[0], self.network.design.out_channels, height, width)
        for top in tops:
            for left in lefts:
                tile = padded[..., top : top + out_h + 2 * border, left : left + out_w + 2 * border]
                target = result[..., top : top + out_h, left : left + out_w]
                target.copy_(self.network(tile)[..., : target.shape[-2], : target.shape[-1]])
        return result

    def _step_and_output(self, side: int) -> tuple[int, int]:
        """Step between tiles and output side of one tile: the fewest tiles, all of one size, none larger than `tile`.

        Steps are multiples of the stride; outputs are larger than the step by the network's smallest output (4 px).
        """
        design = self.network.design
        rest = output_side(design, design.smallest_side) % design.stride
        if input_side_for(design, side) <= self.tile:
            out = output_side(design, input_side_for(design, side))
            return out, out
        largest_step = (self.tile - 2 * design.border - rest) // design.stride * design.stride
        if largest_step < design.stride:
            largest_step = design.stride
        count = -(-(side - rest) // largest_step)
        step = -(-(side - rest) // (count * design.stride)) * design.stride
        return step, max(step + rest, output_side(design, design.smallest_side))

    def _same(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        stride = self.network.design.stride
        padded = mirror(image, (0, -height % stride), (0, -width % stride))
        result = image.new_empty(image.shape[0], self.network.design.out_channels, *padded.shape[-2:])
        for top, bottom, above, below in self._cuts(padded.shape[-2]):
            for left, right, before, behind in self._cuts(padded.shape[-1]):
                scores = self.network(padded[..., above:below, before:behind])
                result[..., top:bottom, left:right] = scores[..., top - above : bottom - above, left - before : right - before]
        return result[..., :height, :width]

    def _cuts(self, side: int) -> list[tuple[int, int, int, int]]:
        """Where the padded side (a multiple of the stride) is cut: first and last pixel of each core, and of its tile.

        A tile is its core and context on both sides, moved into the image at its ends: all are of one size, for which a runtime
        prepares itself once.
        """
        if side <= self.tile:
            return [(0, side, 0, side)]
        stride = self.network.design.stride
        largest = (self.tile - 2 * self.context) // stride * stride
        count = -(-side // largest)
        core = -(-side // (count * stride)) * stride
        whole = min(side, core + 2 * self.context)
        starts = [(start, min(max(0, start - self.context), side - whole)) for start in range(0, side, core)]
        return [(start, min(side, start + core), above, above + whole) for start, above in starts]


def mirror(image: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """(B, C, H, W) continued by mirroring at the border pixels, which are not repeated; as many reflections as it takes.

    Args:
        rows, columns: pixels to add before and after.
    """
    if not any((*rows, *columns)):
        return image
    down = _mirrored_indices(image.shape[-2], *rows).to(image.device)
    across = _mirrored_indices(image.shape[-1], *columns).to(image.device)
    return image.index_select(-2, down).index_select(-1, across)


def _mirrored_indices(side: int, before: int, after: int) -> Tensor:
    if side == 1:
        return torch.zeros(before + 1 + after, dtype=torch.long)
    period = 2 * (side - 1)
    index = torch.arange(-before, side + after) % period
    return torch.where(index < side, index, period - index)


def _smallest_tile(network: SizedNetwork) -> int:
    design = network.design
    if design.padding == "valid":
        return design.smallest_side
    context = -(-reach(design) // design.stride) * design.stride
    return 2 * context + design.stride
