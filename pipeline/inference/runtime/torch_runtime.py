"""The network by torch itself: channels last, and in bfloat16 where that is wanted, on CUDA as a recording."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...network.folded import folded
from ...network.precision import Precision
from ...network.unet import OriginalUNet
from .cuda_graph import Recorded


def start(network: OriginalUNet, precision: Precision, device: torch.device, graph: Callable[[], bytes]) -> nn.Module:
    """Single precision is the network as it was trained: what all others are measured against."""
    if precision == "fp32":
        return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
    half = HalfPrecision(network, device)
    return Recorded(half) if device.type == "cuda" else half


class HalfPrecision(nn.Module):
    """The network in bfloat16, sums in single precision as the hardware has it.

    Shapes: as the network's; scores in float32.
    """

    def __init__(self, network: OriginalUNet, device: torch.device) -> None:
        super().__init__()
        self.design, self.output = network.design, network.output
        plain = folded(network).to(device, torch.bfloat16)
        self.network = plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.network(image.to(torch.bfloat16, memory_format=torch.channels_last))
        return scores.float()
