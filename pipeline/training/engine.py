"""The training step and what happens around it, as ignite engine and handlers. Knows nothing of files, plans or MLflow."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ..errors import UserError
from ..progress import say
from .averaging import AverageWeights
from .schedule import Clock, learning_rate

Loss = Callable[[Tensor, Tensor], Tensor]
LARGEST_GRADIENT = 12.0  # norm over all weights; ordinary ones are 0.1 to 3, so only outbreaks are cut


def build_trainer(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, *, device: torch.device, bf16: bool
) -> Engine:
    """An ignite engine whose output is {"loss": float} of each step.

    Raises in a step: UserError when loss or gradients are not finite twice in a row; once, the step is skipped with a word, and
        neither weights nor running means are touched.
    """
    skipped = 0
    # Only where gradients come in half precision; CUDA's float16 would need a scaler, bfloat16 does not.
    half = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def step(engine: Engine, batch: dict[str, Tensor]) -> dict[str, float]:
        nonlocal skipped
        network.train()
        image = batch["image"].to(device, memory_format=torch.channels_last, non_blocking=True)  # (B, C, H, W)
        truth = batch["label"].to(device, non_blocking=True)  # (B, 1 or structures, H - 184, W - 184) for the paper's network
        running = [buffer.clone() for buffer in network.buffers()]  # batch normalisation keeps a NaN for ever
        optimizer.zero_grad(set_to_none=True)
        with half:
            scores = network(image)
        value = loss(scores, truth)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), max_norm=LARGEST_GRADIENT)
        if not (torch.isfinite(value) and torch.isfinite(norm)):
            for buffer, before in zip(network.buffers(), running, strict=True):
                buffer.copy_(before)
            skipped += 1
            _not_finite(skipped, engine.state.iteration)
            return {"loss": float("nan")}
        skipped = 0
        optimizer.step()
        return {"loss": float(value.item())}

    engine = Engine(step)
    engine.logger = logging.getLogger("unet.training")
    engine.logger.addHandler(logging.NullHandler())  # what ends a run is told once, by the command
    engine.logger.propagate = False
    return engine


def _not_finite(times: int, iteration: int) -> None:
    if times > 1:
        raise UserError(
            f"the loss or its gradients are not finite, twice in a row at step {iteration}",
            where="training",
            next="Train again with a lower learning_rate, or with precision: fp32; the checkpoints of this run are good.",
        )
    say(f"unet: the loss of step {iteration} or its gradients are not finite: step skipped")


class FollowSchedule:
    """Sets the learning rate before each step from how much of the training is done."""

    def __init__(self, optimizer: torch.optim.Optimizer, base: float, clock: Clock, steps_per_epoch: int) -> None:
        self.optimizer, self.base, self.clock, self.steps_per_epoch = optimizer, base, clock, steps_per_epoch
        self.rate = base

    def __call__(self, engine: Engine) -> None:
        done = self.clock.done_fraction(engine.state.iteration - 1, self.steps_per_epoch)
        self.rate = learning_rate(self.base, done)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate


class StopOnBudget:
    """Ends the training when the time left is used up; `reached` says that it did."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.reached = False

    def __call__(self, engine: Engine) -> None:
        if self.clock.left_s() <= 0:
            self.reached = True
            engine.terminate()


class StopOnSignal:
    """Ctrl-C and SIGTERM end the training after the step at hand, in good order; a second one ends it at once."""

    def __init__(self) -> None:
        self.received = 0

    def __call__(self, engine: Engine) -> None:
        if self.received:
            engine.terminate()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While it is open, signals are heard here; only a main thread can."""
        import threading

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {kind: signal.signal(kind, self._hear) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if self.received > 1:
            raise KeyboardInterrupt


class MeanLoss:
    """Mean of the finite losses since the last call of `take`."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def __call__(self, engine: Engine) -> None:
        loss = float(engine.state.output["loss"])
        if loss == loss:  # a skipped step has none
            self.values.append(loss)

    def take(self) -> float | None:
        mean = sum(self.values) / len(self.values) if self.values else None
        self.values = []
        return mean


def attach(
    trainer: Engine,
    *,
    schedule: FollowSchedule,
    losses: MeanLoss,
    average: AverageWeights | None,
    stops: list[StopOnBudget | StopOnSignal],
) -> None:
    """Hang the handlers on the engine, in the order in which they must act."""
    trainer.add_event_handler(Events.ITERATION_STARTED, schedule)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, losses)
    if average:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, average)
    for stop in stops:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
