"""Which numbers go into each convolution of a network: what computing it in eight bits has to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from .folded import folded
from .tiling import WholeSlice
from .unet import OriginalUNet

# convolution of the folded network → the smallest and the largest number that goes in, 0 between them
Ranges = Mapping[str, tuple[float, float]]

LEFT_OUT = 1e-4  # of the numbers of a slice, at either end: a few large ones would coarsen the steps for all others
LOOKED_AT = 2**20  # numbers of a tensor, evenly spread; more change nothing
IN_SINGLE = ("encoders.0.0", "scores")  # the first and the last stay in single precision: few operations, and they matter most


def find_ranges(network: OriginalUNet, slices: Iterable[Tensor]) -> dict[str, tuple[float, float]]:
    """What goes into each convolution over these slices, but for the most extreme numbers of each.

    Args:
        slices: (1, C, H, W) of any size, as the network sees them.
    """
    plain = folded(network)
    inner = {name: layer for name, layer in plain.named_modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in inner if name not in IN_SINGLE}
    for name, seen in found.items():
        inner[name].register_forward_pre_hook(_noting(seen))
    whole = WholeSlice(plain)
    with torch.inference_mode():
        for image in slices:
            whole(image)
    return {name: _over_all(seen) for name, seen in found.items()}


def _noting(seen: list[tuple[float, float]]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        numbers = inputs[0].reshape(-1)
        numbers = numbers[:: max(1, len(numbers) // LOOKED_AT)]
        out = int(LEFT_OUT * len(numbers))
        low, high = (float(numbers.kthvalue(place).values) for place in (1 + out, len(numbers) - out))
        seen.append((low, high))

    return note


def _over_all(seen: list[tuple[float, float]]) -> tuple[float, float]:
    """Six digits: they are written down, and what is used is what is written."""
    lows, highs = zip(*seen, strict=True)
    return float(f"{min(0.0, *lows):.6g}"), float(f"{max(0.0, *highs):.6g}")
