"""The training step and what happens around it, as ignite engine and handlers. Knows nothing of files, plans or MLflow."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ..progress import say
from . import world
from .averaging import AverageWeights
from .loss import Loss
from .schedule import Clock
from .skipped import SkippedSteps
from .step_times import StepTimes


def build_trainer(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    *,
    device: torch.device,
    bf16: bool,
    gradient_norm: float = 0.0,
) -> Engine:
    """An ignite engine whose output is {"loss": float} of each step.

    Args:
        network: may be wrapped, compiled or shared with other processes, each of which gives a part of the batch.
        gradient_norm: gradients whose norm over all weights is longer are cut to it; 0: none is cut.
    Raises in a step: UserError by the rule of `SkippedSteps`. A skipped step touches neither weights nor running means.
    """
    skipped = SkippedSteps()
    # Only where gradients come in half precision; CUDA's float16 would need a scaler, bfloat16 does not.
    half = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def step(engine: Engine, batch: dict[str, Tensor]) -> dict[str, float]:
        network.train()
        image = batch["image"].to(device, memory_format=torch.channels_last, non_blocking=True)  # (B, C, H, W)
        truth = batch["label"].to(device, non_blocking=True)  # (B, 1 or structures, H - 184, W - 184) for the paper's network
        running = [buffer.clone() for buffer in network.buffers()]  # batch normalisation keeps a NaN for ever
        optimizer.zero_grad(set_to_none=True)
        with half:
            scores = network(image)
        extra = [batch["border"].to(device, non_blocking=True)] if "border" in batch else []  # like the truth
        value = loss(*(world.joined(part) for part in (scores, truth, *extra)))
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), max_norm=gradient_norm or float("inf"))
        finite = bool(torch.isfinite(value) and torch.isfinite(norm))
        if not finite:
            for buffer, before in zip(network.buffers(), running, strict=True):
                buffer.copy_(before)
        skipped.judge(engine, finite=finite)
        if not finite:
            return {"loss": float("nan")}
        optimizer.step()
        return {"loss": float(value.item())}

    engine = Engine(step)
    engine.logger = logging.getLogger("unet.training")
    engine.logger.addHandler(logging.NullHandler())  # what ends a run is told once, by the command
    engine.logger.propagate = False
    return engine


class FollowSchedule:
    """Sets the learning rate before each step from how much of the training is done.

    Args:
        rate_at: the rate of a fraction of the training, 0 to 1.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, rate_at: Callable[[float], float], clock: Clock, steps_per_epoch: int
    ) -> None:
        self.optimizer, self.rate_at, self.clock, self.steps_per_epoch = optimizer, rate_at, clock, steps_per_epoch
        self.rate = rate_at(0.0)

    def __call__(self, engine: Engine) -> None:
        done = world.as_led(self.clock.done_fraction(engine.state.iteration - 1, self.steps_per_epoch))
        self.rate = self.rate_at(done)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate


class StopOnBudget:
    """Ends the training when the time left is used up."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __call__(self, engine: Engine) -> None:
        if world.as_led(float(self.clock.left_s() <= 0)):
            engine.terminate()


class StopOnPatience:
    """Ends the training after an epoch when none was better for `patience` of them; 0: never.

    Args:
        since_best: epochs after the best one, those of earlier processes of the run.
    """

    def __init__(self, patience: int, since_best: int = 0) -> None:
        self.patience, self.since_best = patience, since_best

    @property
    def reached(self) -> bool:
        return 0 < self.patience <= self.since_best

    def __call__(self, engine: Engine) -> None:
        if self.reached:
            say(f"unet: no epoch was better in the last {self.since_best}: the training ends here")
            engine.terminate()


class StopOnSignal:
    """Ctrl-C and SIGTERM end the training after the step at hand, in good order; a second one ends it at once.

    A signal to one process is one to all of them. `stopped`: the training was ended by it.
    """

    def __init__(self) -> None:
        self.received = 0
        self.stopped = False

    def __call__(self, engine: Engine) -> None:
        if world.any_of(self.received > 0):
            self.stopped = True
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
    """Mean of the finite losses since the last call of `take`, and how many steps had none."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.skipped = 0

    def __call__(self, engine: Engine) -> None:
        loss = float(engine.state.output["loss"])
        if math.isfinite(loss):
            self.values.append(loss)
        else:
            self.skipped += 1

    def take(self) -> tuple[float | None, int]:
        """Mean (None where every step was skipped) and number of skipped steps."""
        mean = sum(self.values) / len(self.values) if self.values else None
        skipped, self.values, self.skipped = self.skipped, [], 0
        return mean, skipped


def attach(
    trainer: Engine,
    *,
    schedule: FollowSchedule,
    losses: MeanLoss,
    times: StepTimes,
    average: AverageWeights | None,
    stops: list[StopOnBudget | StopOnSignal],
) -> None:
    """Hang the handlers on the engine, in the order in which they must act."""
    times.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_STARTED, schedule)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, losses)
    if average:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, average)
    for stop in stops:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
