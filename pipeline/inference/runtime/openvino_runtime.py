"""The network by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from ...cores import usable_cores
from ...network.precision import Precision
from ...network.unet import OriginalUNet
from .few_sizes import FewSizes
from .graph_network import GraphNetwork
from .onnx_graph import INPUT

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what the graph does not put into eight bits


class Compiled:
    """A graph, compiled for each size of image when that first comes: faster than for all; each holds a copy of the weights."""

    def __init__(self, graph: bytes, precision: Precision) -> None:
        self._model = _core().read_model(graph)
        self._settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],  # left alone, it would be bfloat16 without a word
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": usable_cores(),
        }
        self._requests: FewSizes[Any] = FewSizes()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        request = self._requests.of(image.shape, lambda: self._compiled(image.shape))
        found = request.infer({0: image}, share_inputs=True)
        return np.array(found[0])

    def _compiled(self, shape: tuple[int, ...]) -> Any:
        self._model.reshape({INPUT: list(shape)})
        return _core().compile_model(self._model, "CPU", self._settings).create_infer_request()


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
