"""Averaged weights: torch's AveragedModel with a memory that grows with the training. Knows nothing of files or scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ..network.unet import OriginalUNet


class AverageWeights:
    """An exponential moving average of the weights after each step; an ignite handler. `network` has the averaged ones.

    Args:
        learning: the network that the optimizer changes; it is copied.
        decay: share of the average that stays at each step, once the training is long enough for it.

    After n steps the share is at most (1 + n) / (10 + n), so the memory is about a ninth of the steps so far: it never reaches
    back to the first wild ones, and a training of 300 steps is not held back by a decay that fits 30,000. The starting weights
    are gone after a handful of steps for the same reason, which makes another correction of their bias needless.

    The running means and variances of batch normalisation are averaged with the weights. Copying those of the learning network
    would mix two networks, its own last ten batches with weights of hundreds of steps; computing them anew, as is done once at
    the end of stochastic weight averaging, would cost passes over training samples before each of the validations here.
    """

    def __init__(self, learning: OriginalUNet, decay: float) -> None:
        self.learning, self.decay = learning, decay
        self.model = AveragedModel(learning, multi_avg_fn=self._blend, use_buffers=True)

    @property
    def network(self) -> OriginalUNet:
        return self.model.module  # type: ignore[return-value]

    def __call__(self, engine: Engine) -> None:
        if math.isfinite(engine.state.output["loss"]):  # a skipped step gave no new weights
            self.model.update_parameters(self.learning)

    def state(self) -> dict[str, Any]:
        """What a training goes on with: the average, and how many steps are in it."""
        return {"network": self.network.state_dict(), "averaged_steps": int(self.model.n_averaged)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.model.n_averaged.fill_(state["averaged_steps"])

    @torch.no_grad()
    def _blend(self, averages: Any, values: Any, steps: Tensor | int) -> None:
        """All tensors of one type at once, in place."""
        if not averages[0].is_floating_point():  # the number of batches seen
            torch._foreach_copy_(averages, values)
            return
        share = min(self.decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(averages, values, 1 - share)
