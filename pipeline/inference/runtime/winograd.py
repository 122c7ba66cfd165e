"""3x3 convolutions with fewer products: four pixels of the output from 4x4 of the input by 16 products in place of 36. Exact up
to rounding: sums and differences of rows and columns take the place of products.

Between such convolutions an image stays split into its even and odd rows and columns, so that taking the 4x4 apart and laying
the four together are plain additions of whole tensors, and the products 16 convolutions of 1x1. Even and odd rows are rounded
differently: which are even must not depend on where a tile begins. Tiles begin at multiples of the pooling stride, so that this
holds at all levels but the deepest.

Source: Winograd's minimal filter F(2x2, 3x3), as Lavin and Gray (arXiv:1509.09308, section 4.1) use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import nn

CHANNEL, ROW, COLUMN = 1, 2, 3  # axes of (B, C, H, W)
CHANNELS_LAST, CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # orders of axes
TO_THE_END = 2**62
# Below, additions and copies take longer than the products that are saved: seen on a Zen 4 with OpenVINO, fp32 and bf16.
LEAST_IN, LEAST_OUT = 64, 128  # channels
# The weights of the four products along an axis, from the three of the kernel.
KERNEL_SUMS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


class Graph(Protocol):
    """What `onnx_graph` writes into; tensors are names."""

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str: ...

    def constant(self, values: np.ndarray) -> str: ...


class Quarters(NamedTuple):
    """An image of even numbers of rows and columns: (B, C, H / 2, W / 2) each."""

    even_even: str  # rows 0, 2, ..., and of these the columns 0, 2, ...
    even_odd: str
    odd_even: str
    odd_odd: str


PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # first row and column of each


def pays(layer: nn.Conv2d) -> bool:
    """Whether a convolution is faster so."""
    return layer.in_channels >= LEAST_IN and layer.out_channels >= LEAST_OUT


def split(graph: Graph, x: str) -> Quarters:
    return Quarters(*(_slice(graph, x, place, TO_THE_END, (ROW, COLUMN), step=2) for place in PLACES))


def joined(graph: Graph, x: Quarters) -> str:
    """(B, C, H, W) again.

    Column beside column, then row beside row, and channels last, as runtimes keep images: laying them in their order then moves
    nothing.
    """
    rows = [graph.node("Concat", *columns, axis=CHANNEL) for columns in (x[:2], x[2:])]
    beside = graph.node("Transpose", graph.node("Concat", *rows, axis=COLUMN), perm=CHANNELS_LAST)
    sides = graph.node("Gather", graph.node("Shape", x.even_even), graph.constant(np.array(CHANNELS_LAST)), axis=0)
    whole = graph.node("Reshape", beside, graph.node("Mul", sides, graph.constant(np.array([1, 2, 2, 1]))))
    return graph.node("Transpose", whole, perm=CHANNELS_FIRST)


def convolution(graph: Graph, layer: nn.Conv2d, x: Quarters) -> Quarters:
    """The layer's output: H - 2 rows and W - 2 columns of it without padding, H and W with one pixel of zeros."""
    assert layer.bias is not None
    padded, bias = bool(layer.padding[0]), graph.constant(layer.bias.detach().numpy())
    kernel = layer.weight.detach().numpy()
    weights = np.einsum("ir,jc,norc->ijno", KERNEL_SUMS, KERNEL_SUMS, kernel, optimize=True).astype(np.float32)[..., None, None]
    # of even columns and of odd ones: four sums of rows each; of each of the four, four sums of columns
    left, right = (_sums(graph, *halves, ROW, layer.in_channels, padded) for halves in (x[::2], x[1::2]))
    sums = [_sums(graph, *halves, COLUMN, layer.in_channels, padded) for halves in zip(left, right, strict=True)]

    def product(i: int, j: int) -> str:
        once = [bias] if i == j == 1 else []  # this one is part of all four pixels, and never subtracted
        return graph.node("Conv", sums[i][j], graph.constant(weights[i, j]), *once, kernel_shape=[1, 1])

    columns = [_two(graph, *(product(i, j) for j in range(4))) for i in range(4)]  # even and odd ones
    (even_even, odd_even), (even_odd, odd_odd) = (_two(graph, *four) for four in zip(*columns, strict=True))
    return Quarters(even_even, even_odd, odd_even, odd_odd)


def max_pooled(graph: Graph, x: Quarters) -> str:
    """The largest of each 2x2 pixels."""
    return graph.node("Max", *x)


def raised(graph: Graph, layer: nn.ConvTranspose2d, x: str) -> Quarters:
    """Twice the rows and columns: each quarter comes from one of the 2x2 weights."""
    assert layer.bias is not None
    weight, bias = layer.weight.detach().numpy(), graph.constant(layer.bias.detach().numpy())
    parts = (weight[:, :, row : row + 1, column : column + 1] for row, column in PLACES)
    return Quarters(*(graph.node("ConvTranspose", x, graph.constant(part), bias, kernel_shape=[1, 1]) for part in parts))


def cropped(graph: Graph, x: Quarters, crop: int) -> Quarters:
    """Without so many pixels, an even number, on every side."""
    assert crop % 2 == 0
    if crop == 0:
        return x
    first = (crop // 2, crop // 2)
    return Quarters(*(_slice(graph, part, first, -(crop // 2), (ROW, COLUMN)) for part in x))


def _sums(graph: Graph, even: str, odd: str, axis: int, channels: int, padded: bool) -> tuple[str, str, str, str]:
    """Of each pair of rows that come out, sums of the four that go in, half as many rows each: the first less the third, the
    second and the third, the third less the second, and the second less the fourth. Or of columns, as the axis says."""
    if padded:  # the first of the four is odd, and a row of zeros lies at each end
        second, third = even, odd
        first_less = _less_next(graph, odd, axis, channels, before=1)
        second_less = _less_next(graph, even, axis, channels, behind=1)
    else:
        second, third = _slice(graph, odd, (0,), -1, (axis,)), _slice(graph, even, (1,), TO_THE_END, (axis,))
        first_less, second_less = (_less_next(graph, half, axis, channels) for half in (even, odd))
    return first_less, graph.node("Add", second, third), graph.node("Sub", third, second), second_less


def _less_next(graph: Graph, x: str, axis: int, channels: int, before: int = 0, behind: int = 0) -> str:
    """Each row less the next, with rows of zeros at the ends: one pass over memory, where slices and a difference are three."""
    sides, pads = ([2, 1], [before, 0, behind, 0]) if axis == ROW else ([1, 2], [0, before, 0, behind])
    weight = np.tile(np.array([1, -1], dtype=np.float32).reshape(1, *sides), (channels, 1, 1, 1))
    return graph.node("Conv", x, graph.constant(weight), kernel_shape=sides, pads=pads, group=channels)


def _two(graph: Graph, first: str, second: str, third: str, fourth: str) -> tuple[str, str]:
    """The even and the odd rows, or columns, from the four products along that axis."""
    even = graph.node("Add", graph.node("Add", first, second), third)
    return even, graph.node("Sub", graph.node("Sub", second, third), fourth)


def _slice(graph: Graph, x: str, first: Sequence[int], last: int, axes: Sequence[int], *, step: int = 1) -> str:
    parts = (first, [last] * len(axes), axes, [step] * len(axes))
    return graph.node("Slice", x, *(graph.constant(np.array(part)) for part in parts))
