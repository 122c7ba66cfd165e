"""What learns: network, optimizer and averaged weights, and the state from which they go on. Knows nothing of data or files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError
from ..labels import LabelTable
from ..network.catalogue import build_network
from ..network.unet import OriginalUNet
from . import world
from .averaging import AverageWeights
from .engine import build_trainer
from .experiment import Experiment
from .loss import build_loss
from .synchronised import synchronise


class Learner:
    """The parts of a training that change with each step.

    Args:
        channels: of the images.
    """

    def __init__(self, experiment: Experiment, table: LabelTable, channels: int, device: torch.device) -> None:
        self.device = device
        network = build_network(experiment.network.name, experiment.network_settings(table, channels)).to(device)
        self.network: OriginalUNet = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if world.size() > 1:
            synchronise(self.network)
        self.optimizer = _optimizer(self.network, experiment)
        self.average = AverageWeights(self.network, experiment.ema) if experiment.ema else None

    def trainer(self, experiment: Experiment, counts: Sequence[int] = ()) -> Engine:
        """The engine whose steps change this network, by the experiment's loss; see `build_trainer`.

        Args:
            counts: pixels of each class, for weights by the census.
        """
        return build_trainer(
            self._trained(compiled=experiment.compile),
            self.optimizer,
            build_loss(experiment.loss, experiment.network.head, counts),
            device=self.device,
            bf16=experiment.precision == "bf16",
            gradient_norm=experiment.gradient_norm,
        )

    def _trained(self, *, compiled: bool) -> nn.Module:
        """The network as the training step calls it: compiled where that is asked for, shared between many processes.

        Not done to `network` itself, whose weights keep their names.
        """
        shared: nn.Module = self.network
        if world.size() > 1:
            logging.disable(logging.INFO)  # ignite tells each step of it
            # batch normalisation takes its statistics over all processes: there is nothing to hand around before each step
            shared = idist.auto_model(self.network, forward_sync_buffers=False, gradient_as_bucket_view=True)
            assert isinstance(shared, DistributedDataParallel)
            shared.register_comm_hook(None, lambda _, bucket: _summed(bucket.buffer()))
            logging.disable(logging.NOTSET)
        return torch.compile(shared) if compiled else shared  # type: ignore[return-value]

    @property
    def judged(self) -> OriginalUNet:
        """The network that is validated, kept as the best and handed out: the averaged one, where there is one."""
        return self.average.network if self.average else self.network

    @property
    def finite(self) -> bool:
        """No weight and no statistic is infinite or NaN; one that is in the learning network is in the average as well."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.judged.state_dict().values())

    def state(self) -> dict[str, Any]:
        """Everything to go on from, bit by bit. `network` are the weights that are judged, with or without averaging."""
        state = {
            "network": self.judged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }
        return state | {"learning": self.network.state_dict(), **self.average.state()} if self.average else state

    def restore(self, state: Mapping[str, Any], *, where: Path) -> None:
        """The inverse of `state`. Raises: UserError that names what the checkpoint `where` lacks."""
        wanted = {"epoch", "best", "optimizer", "random", *(("learning", "averaged_steps") if self.average else ())}
        missing = wanted - state.keys()
        if missing:
            raise UserError(f"holds no {', '.join(sorted(missing))}: training cannot go on from it", where=where)
        self.network.load_state_dict(state["learning" if self.average else "network"])
        if self.average:
            self.average.restore(state)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state["random_cuda"]:
            torch.cuda.set_rng_state_all(state["random_cuda"])


def _summed(gradients: torch.Tensor) -> torch.futures.Future[torch.Tensor]:
    """Added over all processes, each of which has those of its own part of the batch; PyTorch would take the mean."""
    work = distributed.all_reduce(gradients, async_op=True)
    summed: torch.futures.Future[torch.Tensor] = work.get_future().then(lambda done: done.value()[0])
    return summed


def _optimizer(network: OriginalUNet, e: Experiment) -> torch.optim.Optimizer:
    parameters, rate, decay = network.parameters(), e.learning_rate, e.weight_decay
    if e.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=e.momentum, weight_decay=decay, fused=True)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)  # one pass over the weights, not a dozen
