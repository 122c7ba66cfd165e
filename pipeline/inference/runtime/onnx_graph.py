"""The original U-Net as an ONNX graph, which OpenVINO and ONNX Runtime read. Written operation by operation, without tracing:
crops are constants of the design, so one graph takes every legal image size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...network.folded import blocks, folded
from ...network.sizes import Step, steps
from ...network.unet import OriginalUNet

if TYPE_CHECKING:
    from torch import nn

OPSET = 17  # of 2022: both runtimes have read it for years
IR_VERSION = 8  # of the same year
INPUT, OUTPUT = "image", "scores"


def onnx_model(network: OriginalUNet) -> bytes:
    """The network in evaluation mode as a serialised ONNX model, batch normalisation folded in.

    Shapes: "image" (B, C, H, W) → "scores" (B, K, H', W'), float32; H and W are free within the legal sizes.
    """
    import onnx

    plain, graph = folded(network).cpu(), _Graph()
    crops = _crops(plain)
    encoders, bottleneck, decoders = blocks(plain)[: len(crops)], plain.bottleneck, blocks(plain)[len(crops) + 1 :]
    x, skips = INPUT, []
    for block in encoders:
        skips.append(graph.two_convolutions(block, x))
        x = graph.node("MaxPool", skips[-1], kernel_shape=[2, 2], strides=[2, 2])
    x = graph.two_convolutions(bottleneck, x)
    for up, block, crop in zip(plain.up_convolutions, decoders, crops, strict=True):
        x = graph.convolution("ConvTranspose", up, x, strides=[2, 2])  # type: ignore[arg-type]
        x = graph.node("Concat", graph.cropped(skips.pop(), crop), x, axis=1)
        x = graph.two_convolutions(block, x)
    graph.convolution("Conv", plain.scores, x, output=OUTPUT)
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

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def two_convolutions(self, block: nn.Module, x: str) -> str:
        from torch import nn

        for layer in block.children():
            if isinstance(layer, nn.Conv2d):
                padding = int(layer.padding[0])
                x = self.node("Relu", self.convolution("Conv", layer, x, pads=[padding] * 4))
        return x

    def convolution(self, kind: str, layer: nn.Conv2d | nn.ConvTranspose2d, x: str, output: str = "", **attributes: Any) -> str:
        assert layer.bias is not None
        weight, bias = (self.constant(tensor.detach().numpy()) for tensor in (layer.weight, layer.bias))
        return self.node(kind, x, weight, bias, output=output, kernel_shape=list(layer.kernel_size), **attributes)

    def cropped(self, x: str, crop: int) -> str:
        if crop == 0:
            return x
        first, last = (self.constant(np.array([value, value], dtype=np.int64)) for value in (crop, -crop))
        return self.node("Slice", x, first, last, self.constant(np.array([2, 3], dtype=np.int64)))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def model(self, onnx: Any, network: OriginalUNet) -> Any:
        helper, single = onnx.helper, onnx.TensorProto.FLOAT
        image = helper.make_tensor_value_info(INPUT, single, ["batch", network.design.in_channels, "rows", "columns"])
        shape = ["batch", network.design.out_channels, "output_rows", "output_columns"]
        scores = helper.make_tensor_value_info(OUTPUT, single, shape)
        graph = helper.make_graph(self.nodes, "original U-Net", [image], [scores], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="unet")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model
