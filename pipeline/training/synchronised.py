"""Layers that see the whole batch where each process holds a part of it: then many processes train as one. Knows no engine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import world


def synchronise(network: nn.Module) -> None:
    """Replace batch normalisation and drop-out in place, with the same names, weights and statistics.

    PyTorch's SyncBatchNorm does the same for GPUs, and only for those.
    """
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d):
            setattr(network, name, _of_same_state(module))
        elif isinstance(module, nn.Dropout):
            setattr(network, name, BatchDropout(module.p))
        else:
            synchronise(module)


def _of_same_state(module: nn.BatchNorm2d) -> nn.Module:
    if next(module.parameters()).is_cuda:
        of_all: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return of_all
    made = BatchNormOfAll(module.num_features, eps=module.eps, momentum=module.momentum)
    made.load_state_dict(module.state_dict())
    return made.train(module.training)


class BatchDropout(nn.Dropout):
    """Drop-out whose mask is drawn for the whole batch in every process, of which each takes its own part.

    All processes have the same stream of random numbers, so a sample meets the mask that it meets in one process.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        shape = (len(x) * world.size(), *x.shape[1:])
        whole = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        mask = whole.bernoulli_(1 - self.p)[world.rank() * len(x) :][: len(x)]
        return x * mask * (1 / (1 - self.p))


class BatchNormOfAll(nn.BatchNorm2d):
    """Batch normalisation by mean and variance over the parts of all processes, on CPUs.

    Source: Ioffe and Szegedy, arXiv:1502.03167, algorithm 1 and its derivatives in section 3.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, variance, count = _Normalised.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            momentum = self.momentum or 0.0
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)  # type: ignore[union-attr]
        return y  # type: ignore[no-any-return]


class _Normalised(torch.autograd.Function):
    """The batch in units of its own deviation; the sums of forward and backward run over all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, int]:
        count = x.numel() // x.shape[1] * world.size()
        means, variances = world.of_each(_moments(x)).unbind(1)  # (processes, C) each; the parts are of one size
        mean = means.mean(0)
        variance = (variances + (means - mean) ** 2).mean(0)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        y = functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        # as if the own part were the whole batch, then corrected by how much its sums differ from those of all parts
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse, True, ctx.eps, [True, True, True]
        )
        own = torch.stack([of_weight, of_bias]) / (x.numel() // x.shape[1])
        slope, offset = (own - world.summed(own.clone()) / world.size()) * weight * inverse
        of_x += functional.batch_norm(x, mean, variance, slope, offset, training=False, eps=ctx.eps)
        return of_x, of_weight, of_bias, None


def _moments(x: Tensor) -> Tensor:
    """Mean and variance of each channel, (2, C) in float32, by PyTorch's kernel for batches of channels-last half precision."""
    channels = x.shape[1]
    scratch = torch.zeros(channels, device=x.device), torch.ones(channels, device=x.device)
    return torch.stack(torch.ops.aten.batch_norm_update_stats(x, *scratch, 0.0))
