"""The network by OpenVINO on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from ...cores import usable_cores
from ...network.precision import Precision
from ...network.unet import OriginalUNet
from .graph_network import GraphNetwork
from .onnx_graph import INPUT

SHAPES_KEPT = 2  # compiled for fixed sizes, which is faster; each holds its own copy of the weights
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what the graph does not put into eight bits


class Compiled:
    """A graph, compiled for each size of image when that first comes."""

    def __init__(self, graph: bytes, precision: Precision) -> None:
        self._model = _core().read_model(graph)
        self._settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],  # left alone, it would be bfloat16 without a word
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": usable_cores(),
        }
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        found = self._request(image.shape).infer({0: image}, share_inputs=True)
        return np.array(found[0])

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._requests:
            while len(self._requests) >= SHAPES_KEPT:
                self._requests.popitem(last=False)
            self._model.reshape({INPUT: list(shape)})
            self._requests[shape] = _core().compile_model(self._model, "CPU", self._settings).create_infer_request()
        self._requests.move_to_end(shape)
        return self._requests[shape]


@cache
def _core() -> Any:
    """One for the process, never given back.

    OpenVINO gives the thread that makes one a stack for signals, and frees it with the last reference, in whichever thread
    that goes: the next signal to the first would then end the process.
    """
    import openvino

    return openvino.Core()


def start(network: OriginalUNet, precision: Precision, device: torch.device, graph: Callable[[], bytes]) -> GraphNetwork:
    return GraphNetwork(network, Compiled(graph(), precision))
