"""A U-Net as plain convolutions: batch normalisation, fixed once training is over, goes into the weights before it."""

from __future__ import annotations

import torch
from torch import nn

from .undrawn import Undrawn
from .unet import OriginalUNet


def folded(network: OriginalUNet) -> OriginalUNet:
    """A new network without batch normalisation that computes the same in evaluation mode, up to rounding.

    (w * x + b - mean) / sqrt(variance + eps) * gamma + beta is a convolution with the weights w * gamma / sqrt(variance + eps).
    The weights are copied, in single precision, on the network's device; dropout, which evaluation leaves out, is gone.
    """
    design = network.design
    with Undrawn():  # all are copied below
        plain = OriginalUNet(
            design.in_channels,
            design.out_channels,
            width=design.width,
            depth=design.depth,
            padding=design.padding,
            output=network.output,
        )
    plain.to(next(network.parameters()).device)
    with torch.no_grad():
        for into, convolution, normalisation in zip(_convolutions(plain), *_pairs(network), strict=True):
            weight, bias = _fused(convolution, normalisation)
            into.weight.copy_(weight)
            into.bias.copy_(bias)  # type: ignore[union-attr]
        others = [(plain.scores, network.scores), *zip(plain.up_convolutions, network.up_convolutions, strict=True)]
        for copy, original in others:
            copy.load_state_dict(original.state_dict())
    return plain.eval()


def blocks(network: OriginalUNet) -> list[nn.Sequential]:
    """The pairs of 3x3 convolutions from the image to the scores."""
    return [*network.encoders, network.bottleneck, *network.decoders]  # type: ignore[list-item]


def convolutions(block: nn.Sequential) -> list[nn.Conv2d]:
    """The two of a pair."""
    return [layer for layer in block if isinstance(layer, nn.Conv2d)]


def _convolutions(network: OriginalUNet) -> list[nn.Conv2d]:
    return [layer for block in blocks(network) for layer in convolutions(block)]


def _pairs(network: OriginalUNet) -> tuple[list[nn.Conv2d], list[nn.BatchNorm2d | None]]:
    """Each 3x3 convolution, and what normalises behind it."""
    convolutions = _convolutions(network)
    if not network.design.normalization:
        return convolutions, [None] * len(convolutions)
    return convolutions, [layer for block in blocks(network) for layer in block if isinstance(layer, nn.BatchNorm2d)]


def _fused(convolution: nn.Conv2d, normalisation: nn.BatchNorm2d | None) -> tuple[torch.Tensor, torch.Tensor]:
    bias = torch.zeros_like(convolution.weight[:, 0, 0, 0]) if convolution.bias is None else convolution.bias
    if normalisation is None:
        return convolution.weight, bias
    assert normalisation.running_mean is not None and normalisation.running_var is not None
    # in double precision: small variances would lose digits
    deviation = (normalisation.running_var.double() + normalisation.eps).sqrt()
    factor = normalisation.weight.double() / deviation
    moved = (bias.double() - normalisation.running_mean.double()) * factor + normalisation.bias.double()
    return (convolution.weight.double() * factor[:, None, None, None]).float(), moved.float()
