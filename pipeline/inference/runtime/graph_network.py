"""What OpenVINO and ONNX Runtime have in common: a graph that takes and gives arrays, as a network that takes tensors."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn

from ...network.sizes import output_side
from ...network.unet import OriginalUNet


class GraphNetwork(nn.Module):
    """A network that another library computes, on the CPU.

    Args:
        network: that it stands for; only its sizes are taken.
        run: (B, C, H, W) float32 → (B, K, H', W') float32, an array of its own.
    Shapes: as the network's. One answer at a time: all cores work on it.
    """

    def __init__(self, network: OriginalUNet, run: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.run = run
        self.design, self.output = network.design, network.output
        self._one = Lock()

    def forward(self, image: Tensor) -> Tensor:
        for side in image.shape[-2:]:
            output_side(self.design, int(side))  # refuses what does not fit, with the nearest that do
        with self._one:
            scores = torch.from_numpy(self.run(np.ascontiguousarray(image.numpy())))
        if self.output == "rescale":
            scores = nn.functional.interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return scores
