"""3x3 convolutions with two thirds of the products: two rows of the output from four rows of the input by four convolutions of
1x3 instead of six. Exact up to rounding: sums and differences of rows take the place of products.

Between such convolutions an image stays split into its even and its odd rows, so that taking the four rows apart and laying
the two together are plain additions of whole tensors. Even and odd rows are rounded differently: which are even must not depend
on where a tile begins. Tiles begin at multiples of the pooling stride, so that this holds at all levels but the deepest.

Source: Winograd's minimal filter F(2, 3), as Lavin and Gray (arXiv:1509.09308, section 4.1) use it; here along the rows alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import nn

ROW, COLUMN = 2, 3  # axes of (B, C, H, W)
CHANNELS_LAST, CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # orders of axes
TO_THE_END = 2**62
# Below, additions and copies take longer than the products that are saved: seen on a Zen 4 with OpenVINO, fp32 and bf16.
LEAST_IN, LEAST_OUT = 64, 128  # channels


class Graph(Protocol):
    """What `onnx_graph` writes into; tensors are names."""

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str: ...

    def constant(self, values: np.ndarray) -> str: ...


class Rows(NamedTuple):
    """An image of an even number of rows: (B, C, H / 2, W) each."""

    even: str  # rows 0, 2, ...
    odd: str


def pays(layer: nn.Conv2d) -> bool:
    """Whether a convolution is faster so."""
    return layer.in_channels >= LEAST_IN and layer.out_channels >= LEAST_OUT


def split(graph: Graph, x: str) -> Rows:
    return Rows(_rows(graph, x, 0, TO_THE_END, step=2), _rows(graph, x, 1, TO_THE_END, step=2))


def joined(graph: Graph, x: Rows) -> str:
    """(B, C, H, W) again.

    Row beside row, and channels last, as runtimes keep images: laying the rows one below the other then moves nothing.
    """
    beside = graph.node("Transpose", graph.node("Concat", *x, axis=COLUMN), perm=CHANNELS_LAST)
    sides = [_side(graph, x.even, axis) for axis in CHANNELS_LAST]
    row = CHANNELS_LAST.index(ROW)
    sides[row] = graph.node("Mul", sides[row], graph.constant(np.array([2])))
    whole = graph.node("Reshape", beside, graph.node("Concat", *sides, axis=0))
    return graph.node("Transpose", whole, perm=CHANNELS_FIRST)


def convolution(graph: Graph, layer: nn.Conv2d, x: str | Rows) -> Rows:
    """The layer's output, H - 2 rows of it without padding and H with one pixel of zeros.

    Args:
        x: of an even number of rows, whole or split.
    """
    assert layer.bias is not None
    above, centre, below = (layer.weight.detach().numpy()[:, :, row : row + 1] for row in range(3))
    padding = int(layer.padding[0])
    bias = graph.constant(layer.bias.detach().numpy())
    weights = (above, (above + centre + below) / 2, (above - centre + below) / 2, below)
    products = [
        graph.node("Conv", rows, graph.constant(weight), *offset, kernel_shape=[1, 3], pads=[0, padding] * 2)
        for rows, weight, offset in zip(_sums(graph, x, layer), weights, ([], [bias], [], []), strict=True)
    ]
    even = graph.node("Add", graph.node("Add", products[0], products[1]), products[2])
    odd = graph.node("Sub", graph.node("Sub", products[1], products[2]), products[3])
    return Rows(even, odd)


def max_pooled(graph: Graph, x: Rows) -> str:
    """The largest of each 2x2 pixels."""
    return graph.node("MaxPool", graph.node("Max", x.even, x.odd), kernel_shape=[1, 2], strides=[1, 2])


def cropped(graph: Graph, x: Rows, crop: int) -> Rows:
    """Without so many pixels, an even number, on every side."""
    assert crop % 2 == 0
    if crop == 0:
        return x
    first, last = (graph.constant(np.array([sign * crop // 2, sign * crop])) for sign in (1, -1))
    axes = graph.constant(np.array([ROW, COLUMN]))
    return Rows(*(graph.node("Slice", half, first, last, axes) for half in x))


def _sums(graph: Graph, x: str | Rows, layer: nn.Conv2d) -> tuple[str, str, str, str]:
    """Of each pair of rows that come out, sums of the four that go in, (B, C, pairs, W) each: the first less the third, the
    second and the third, the third less the second, and the second less the fourth."""
    even, odd = x if isinstance(x, Rows) else split(graph, x)
    if layer.padding[0]:  # the first of the four is odd, and a row of zeros lies at each end
        second, third = even, odd
        first_less, second_less = _less_next(graph, odd, layer, before=1), _less_next(graph, even, layer, behind=1)
    else:
        second, third = _rows(graph, odd, 0, -1), _rows(graph, even, 1, TO_THE_END)
        first_less, second_less = _less_next(graph, even, layer), _less_next(graph, odd, layer)
    return first_less, graph.node("Add", second, third), graph.node("Sub", third, second), second_less


def _less_next(graph: Graph, x: str, layer: nn.Conv2d, *, before: int = 0, behind: int = 0) -> str:
    """Each row less the next, with rows of zeros at the ends: one pass over memory, where slices and a difference are three."""
    weight = np.tile(np.array([1, -1], dtype=np.float32)[:, np.newaxis], (layer.in_channels, 1, 1, 1))
    pads = [before, 0, behind, 0]
    return graph.node("Conv", x, graph.constant(weight), kernel_shape=[2, 1], pads=pads, group=layer.in_channels)


def _side(graph: Graph, x: str, axis: int) -> str:
    return graph.node("Gather", graph.node("Shape", x), graph.constant(np.array([axis])), axis=0)


def _rows(graph: Graph, x: str, first: int, last: int, *, step: int = 1) -> str:
    return graph.node("Slice", x, *(graph.constant(np.array([value])) for value in (first, last, ROW, step)))
