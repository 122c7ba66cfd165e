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


def start(network: OriginalUNet, precision: Precision, device: torch.device, graph: Callable[[], bytes]) -> GraphNetwork:
    """One session; its graph takes every size."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = ERRORS_ONLY
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest tile
    session = onnxruntime.InferenceSession(graph(), options, providers=["CPUExecutionProvider"])
    return GraphNetwork(network, lambda image: np.asarray(session.run(None, {INPUT: image})[0]))
