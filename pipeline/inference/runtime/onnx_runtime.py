"""The network by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...cores import usable_cores
from ...network.precision import Precision
from ...network.unet import OriginalUNet
from .graph_network import GraphNetwork
from .onnx_graph import INPUT

ERRORS_ONLY = 3


class OnnxNetwork(GraphNetwork):
    """One session; its graph takes every size."""

    def __init__(self, network: OriginalUNet, graph: bytes) -> None:
        import onnxruntime

        super().__init__(network)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = ERRORS_ONLY
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest tile
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(self, image: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {INPUT: image})[0])


def start(network: OriginalUNet, precision: Precision, device: torch.device, graph: Callable[[], bytes]) -> OnnxNetwork:
    return OnnxNetwork(network, graph())
