"""The paper's overlap-tile: any image through a network of fixed legal sizes, tile by tile, with the whole image's answer.

Knows nothing of files or millimetres. Two things make tiled equal whole (both are tested):
the image is mirrored at its border, and every tile starts at a multiple of the pooling stride of one common grid.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..errors import UserError
from .sizes import DEFAULT_TILE, Design, input_side_for, output_side, reach
from .unet import Output

Span = tuple[int, int]  # first pixel, and the one behind the last
Window = tuple[Span, Span]  # rows, columns


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
        smallest = smallest_tile(design)
        if tile < smallest:
            raise UserError(f"a tile of {tile} px is smaller than the network allows", next=f"Smallest: {smallest}.")
        self.context = _context(design)

    def forward(self, image: Tensor, window: Window | None = None) -> Tensor:
        """The scores of the image, or of a window of it: that part of the whole image's, at the window's own cost."""
        height, width = image.shape[-2:]
        rows, columns = window or ((0, height), (0, width))
        if self.network.output == "rescale":
            return self._rescaled(image)[..., slice(*rows), slice(*columns)]
        if self.network.design.padding == "valid":
            return self._valid(image, rows, columns)
        return self._same(image, rows, columns)

    def _rescaled(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        design = self.network.design
        sides = [max(design.smallest_side, side + -(side - design.smallest_side) % design.stride) for side in (height, width)]
        padded = mirror(image, (0, sides[0] - height), (0, sides[1] - width))
        return self.network(padded)[..., :height, :width]

    def _valid(self, image: Tensor, rows: Span, columns: Span) -> Tensor:
        # the grid of tiles starts at a multiple of the stride, so that the pooling phase is the whole image's
        top, left = (first // self.network.design.stride * self.network.design.stride for first, _ in (rows, columns))
        height, width = rows[1] - top, columns[1] - left
        (step_h, out_h), (step_w, out_w) = (self._step_and_output(side) for side in (height, width))
        downs, acrosses = (
            range(0, max(1, height - out_h + step_h), step_h),
            range(0, max(1, width - out_w + step_w), step_w),
        )
        border = self.context
        padded = mirror(
            image,
            (border - top, top + downs[-1] + out_h + border - image.shape[-2]),
            (border - left, left + acrosses[-1] + out_w + border - image.shape[-1]),
        )
        result = image.new_empty(image.shape[0], self.network.design.out_channels, height, width)
        for down in downs:
            for across in acrosses:
                tile = padded[..., down : down + out_h + 2 * border, across : across + out_w + 2 * border]
                target = result[..., down : down + out_h, across : across + out_w]
                target.copy_(self.network(tile)[..., : target.shape[-2], : target.shape[-1]])
        return result[..., rows[0] - top :, columns[0] - left :]

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

    def _same(self, image: Tensor, rows: Span, columns: Span) -> Tensor:
        stride = self.network.design.stride
        padded = mirror(image, (0, -image.shape[-2] % stride), (0, -image.shape[-1] % stride))
        (top, down), (left, across) = (
            self._cuts(side, span) for side, span in zip(padded.shape[-2:], (rows, columns), strict=True)
        )
        result = image.new_empty(image.shape[0], self.network.design.out_channels, down[-1].last - top, across[-1].last - left)
        for d in down:
            for a in across:
                scores = self.network(padded[..., d.before : d.behind, a.before : a.behind])
                core = scores[..., d.first - d.before : d.last - d.before, a.first - a.before : a.last - a.before]
                result[..., d.first - top : d.last - top, a.first - left : a.last - left] = core
        return result[..., rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]

    def _cuts(self, side: int, span: Span) -> tuple[int, list[_Cut]]:
        """Where a span of the padded side is cut. Returns: where the first core begins, and the cuts.

        A tile is its core and context on both sides, moved into the image at its ends: all are of one size, for which a runtime
        prepares itself once.
        """
        stride = self.network.design.stride
        first, last = span[0] // stride * stride, -(-span[1] // stride) * stride
        if last - first + 2 * self.context <= self.tile or side <= self.tile:
            core = last - first
        else:
            largest = (self.tile - 2 * self.context) // stride * stride
            count = -(-(last - first) // largest)
            core = -(-(last - first) // (count * stride)) * stride
        whole = min(side, core + 2 * self.context)
        cuts = []
        for start in range(first, last, core):
            before = min(max(0, start - self.context), side - whole)
            cuts.append(_Cut(start, min(last, start + core), before, before + whole))
        return first, cuts


class _Cut(NamedTuple):
    """Along one side, in pixels of the padded image: from where to where scores are taken, and the tile goes."""

    first: int
    last: int
    before: int
    behind: int


def mirror(image: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """(B, C, H, W) continued by mirroring at the border pixels, which are not repeated; as many reflections as it takes.

    Args:
        rows, columns: pixels to add before and after; fewer than none are cut off.
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


def smallest_tile(design: Design) -> int:
    """Input side in pixels below which a tile has no output: 188 for the paper's network."""
    if design.padding == "valid":
        return design.smallest_side
    return 2 * _context(design) + design.stride


def _context(design: Design) -> int:
    """Pixels around what a tile gives, on every side.

    With zero padding, a tile's edge inside the image sees zeros where the whole image sees pixels: such edges get a context as
    wide as a pixel can see, rounded up to the stride so that the pooling phase stays.
    """
    return design.border if design.padding == "valid" else -(-reach(design) // design.stride) * design.stride
