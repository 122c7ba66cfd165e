"""The original U-Net as an ONNX graph, which OpenVINO and ONNX Runtime read. Written operation by operation, without tracing:
crops are constants of the design, so one graph takes every legal image size.

With fewer products it is the same with more additions (`winograd.py`), for a runtime that gains by it.

In eight bits the graph is the same with steps in it (QuantizeLinear, DequantizeLinear) that say which numbers a tensor may
hold: a runtime that knows how computes in integers between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...network.folded import blocks, convolutions, folded
from ...network.ranges import Ranges
from ...network.sizes import Step, steps
from ...network.unet import OriginalUNet
from . import winograd
from .winograd import Quarters

if TYPE_CHECKING:
    from torch import nn

OPSET = 17  # of 2022: both runtimes have read it for years
IR_VERSION = 8  # of the same year
INPUT, OUTPUT = "image", "scores"
CONSTANT = "constant_"  # a tensor that begins so


class Beside(NamedTuple):
    """Two images of as many channels each, (B, C, H, W), that are one of 2 C channels, without having been copied into one."""

    skip: str
    raised: str


def onnx_model(network: OriginalUNet, ranges: Ranges | None = None, *, fewer_products: bool = False) -> bytes:
    """The network in evaluation mode as a serialised ONNX model, batch normalisation folded in.

    Args:
        ranges: what goes into each convolution that is to be computed in eight bits; None is all in single precision.
        fewer_products: wide convolutions as sums of smaller ones; not with eight bits, which the sums do not fit into.
    Shapes: "image" (B, C, H, W) → "scores" (B, K, H', W'), float32; H and W are free within the legal sizes.
    """
    import onnx

    plain = folded(network).cpu()
    assert not (ranges and fewer_products)
    graph = _Graph({layer: name for name, layer in plain.named_modules()}, ranges or {})
    crops = _crops(plain)
    pairs = blocks(plain)
    encoders, bottleneck, decoders = pairs[: len(crops)], pairs[len(crops)], pairs[len(crops) + 1 :]
    x: str | Quarters = INPUT
    skips: list[str | Quarters] = []
    for block in encoders:
        x = graph.two_convolutions(block, x, fewer_products)
        if isinstance(x, str):
            # one range for the skip and what it is joined to, also on its way down: so it is written in eight bits once
            x = graph.stepped(x, decoders[len(encoders) - len(skips) - 1][0])
        skips.append(x)
        x = graph.max_pooled(x)
    x = graph.two_convolutions(bottleneck, x)  # here, rows may be odd in number, and begin with any: see `winograd.py`
    for up, block, crop in zip(plain.up_convolutions, decoders, crops, strict=True):
        joined = graph.beside(graph.cropped(skips.pop(), crop), up, x, convolutions(block)[0])  # type: ignore[arg-type]
        x = graph.two_convolutions(block, joined, fewer_products)
    graph.convolution("Conv", plain.scores, graph.whole(x), output=OUTPUT)
    return bytes(graph.model(onnx, plain).SerializeToString())


def _crops(network: OriginalUNet) -> list[int]:
    """Pixels that each decoder cuts off every side of its skip, from the deepest up: the same for every image size."""
    table = list(steps(network.design, network.design.smallest_side))
    skips = [_side_before(table, place) for place, step in enumerate(table) if step.operation.startswith("max pooling")]
    joined = [step.side for step in table if step.operation.startswith("copy and crop")]
    return [(skip - side) // 2 for skip, side in zip(reversed(skips), joined, strict=True)]


def _side_before(table: list[Step], place: int) -> int:
    return table[place - 1].side


class _Graph:
    """Nodes in order; each is named by its output, so that every tensor has a name that says where it comes from."""

    def __init__(self, names: Mapping[nn.Module, str], ranges: Ranges) -> None:
        self.names, self.ranges = names, ranges
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.in_steps: set[str] = set()  # tensors that hold no other numbers than 256 of a range

    def two_convolutions(
        self, block: nn.Sequential, x: str | Quarters | Beside, fewer_products: bool = False
    ) -> str | Quarters:
        first, second = convolutions(block)
        return self.activated(second, self.activated(first, x, fewer_products), fewer_products)

    def activated(self, layer: nn.Conv2d, x: str | Quarters | Beside, fewer_products: bool) -> str | Quarters:
        """A 3x3 convolution and the rectifier behind it."""
        if isinstance(x, Beside):
            return self.node("Relu", self.sum_of_two(layer, x))
        if fewer_products and winograd.pays(layer):
            quarters = winograd.split(self, x) if isinstance(x, str) else x
            return Quarters(*(self.node("Relu", part) for part in winograd.convolution(self, layer, quarters)))
        return self.node("Relu", self.convolution("Conv", layer, self.whole(x), pads=[int(layer.padding[0])] * 4))

    def whole(self, x: str | Quarters) -> str:
        return winograd.joined(self, x) if isinstance(x, Quarters) else x

    def max_pooled(self, x: str | Quarters) -> str:
        if isinstance(x, Quarters):
            return winograd.max_pooled(self, x)
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def beside(
        self, skip: str | Quarters, up: nn.ConvTranspose2d, x: str | Quarters, layer: nn.Conv2d
    ) -> str | Quarters | Beside:
        """The skip, and the image at twice its rows and columns, joined along the channels for this layer; where it can add two
        images up, they stay two."""
        if isinstance(skip, Quarters):
            both = zip(skip, winograd.raised(self, up, self.whole(x)), strict=True)
            return Quarters(*(self.node("Concat", *parts, axis=1) for parts in both))
        raised = self.stepped(self.convolution("ConvTranspose", up, self.whole(x), strides=[2, 2]), layer)
        if raised in self.in_steps:  # in eight bits one convolution is faster than two
            return self.node("Concat", skip, raised, axis=1)
        return Beside(skip, raised)

    def sum_of_two(self, layer: nn.Conv2d, x: Beside) -> str:
        """A convolution of channels beside each other: the sum of one of each half of them. It saves copying both images into
        one, and runtimes add as they store."""
        assert layer.bias is not None
        skip, raised = (self.constant(half) for half in np.split(layer.weight.detach().numpy(), 2, axis=1))
        size: dict[str, Any] = {"kernel_shape": list(layer.kernel_size), "pads": [int(layer.padding[0])] * 4}
        first = self.node("Conv", x.skip, skip, self.constant(layer.bias.detach().numpy()), **size)
        return self.node("Add", first, self.node("Conv", x.raised, raised, **size))

    def convolution(self, kind: str, layer: nn.Conv2d | nn.ConvTranspose2d, x: str, output: str = "", **attributes: Any) -> str:
        assert layer.bias is not None
        values, bias = layer.weight.detach().numpy(), self.constant(layer.bias.detach().numpy())
        eight_bits = self.names[layer] in self.ranges
        weight = self.stepped_weights(values, axis=int(kind == "ConvTranspose")) if eight_bits else self.constant(values)
        return self.node(
            kind, self.stepped(x, layer), weight, bias, output=output, kernel_shape=list(layer.kernel_size), **attributes
        )

    def stepped(self, x: str, layer: nn.Module) -> str:
        """The tensor in the 256 steps of what goes into this layer; as it is, where that layer is in single precision."""
        if self.names[layer] not in self.ranges or x in self.in_steps:
            return x
        low, high = self.ranges[self.names[layer]]
        scale = max((high - low) / 255, float(np.finfo(np.float32).tiny))  # where nothing ever goes in
        by = self.constant(np.array(scale, dtype=np.float32)), self.constant(np.array(round(-low / scale), dtype=np.uint8))
        x = self.node("DequantizeLinear", self.node("QuantizeLinear", x, *by), *by)
        self.in_steps.add(x)
        return x

    def stepped_weights(self, values: np.ndarray, axis: int) -> str:
        """Weights in steps of their own for each channel that comes out, the same number on both sides of 0."""
        others = tuple(other for other in range(values.ndim) if other != axis)
        scales = np.maximum(np.abs(values).max(axis=others) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        shaped = scales.reshape([-1 if other == axis else 1 for other in range(values.ndim)])
        whole = np.rint(values / shaped).astype(np.int8)
        zeros = np.zeros(len(scales), dtype=np.int8)
        return self.node("DequantizeLinear", self.constant(whole), self.constant(scales), self.constant(zeros), axis=axis)

    def cropped(self, x: str | Quarters, crop: int) -> str | Quarters:
        if isinstance(x, Quarters):
            return winograd.cropped(self, x, crop)
        if crop == 0:
            return x
        first, last = (self.constant(np.array([value, value], dtype=np.int64)) for value in (crop, -crop))
        return self.node("Slice", x, first, last, self.constant(np.array([2, 3], dtype=np.int64)))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        if kind in ("MaxPool", "Concat", "Slice") and all(x in self.in_steps for x in inputs if not x.startswith(CONSTANT)):
            self.in_steps.add(output)  # they choose among the numbers that come in
        return output

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"{CONSTANT}{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def model(self, onnx: Any, network: OriginalUNet) -> Any:
        helper, single = onnx.helper, onnx.TensorProto.FLOAT
        image = helper.make_tensor_value_info(INPUT, single, ["batch", network.design.in_channels, "rows", "columns"])
        shape = ["batch", network.design.out_channels, "output_rows", "output_columns"]
        scores = helper.make_tensor_value_info(OUTPUT, single, shape)
        graph = helper.make_graph(self.nodes, "original U-Net", [image], [scores], self.constants)
        self.constants.clear()  # each step copies all weights: two copies at a time are enough
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="unet")
        del graph
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model
