"""One process of one training: builds its parts, runs the ignite engine, and at each epoch's end scores, saves and tracks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from ..data.case_store import store_cases
from ..data.manifest import Case
from ..data.samples import NumbersFrom, Sampling, SliceSamples
from ..errors import UserError
from ..network.catalogue import build_network
from ..network.tiling import WholeSlice
from ..progress import say
from .checkpoint import load_checkpoint, save_checkpoint
from .engine import FollowSchedule, MeanLoss, StopOnBudget, StopOnSignal, attach, build_trainer
from .loss import dice_focal_loss
from .records import Records
from .run_folder import RunFolder
from .schedule import Clock, process_age_s
from .validation import CaseScores, Validator, metrics


class Session:
    """Everything that one training process holds. Made from a run folder; goes on from its last checkpoint if there is one."""

    def __init__(self, folder: RunFolder, training: Sequence[Case], validation: Sequence[Case]) -> None:
        self.folder = folder
        self.experiment = experiment = folder.experiment()
        self.table = folder.manifest().table
        torch.manual_seed(experiment.seed)
        torch.set_num_threads(experiment.threads or os.cpu_count() or 1)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        say(f"unet: {len(training)} cases to train on, {len(validation)} to validate on")
        stored = store_cases(folder.manifest(), [*training, *validation], experiment.preprocessing, folder.cache)
        self.training_cases, self.validation_cases = stored[: len(training)], stored[len(training) :]
        channels = self.training_cases[0].image.shape[1]
        self._check_channels(channels)
        folder.note({"image_channels": channels, "threads": torch.get_num_threads()})
        settings = experiment.network_settings(self.table, channels)
        network = build_network(experiment.network.name, settings).to(self.device)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.whole = WholeSlice(self.network)
        self.optimizer = self._optimizer()
        self.best: float | None = None
        self.first_epoch = 0
        used_s = self._restore()
        budget = folder.facts().get("budget_s")
        self.clock = Clock(
            epochs=experiment.epochs,
            budget_s=None if budget is None else float(str(budget)),
            used_s=used_s,
            started_s=process_age_s(),
        )
        self.validator = Validator(
            self.validation_cases,
            self.table,
            experiment.network.head,
            neighbours=experiment.preprocessing.neighbours,
            device=self.device,
        )
        self.records = Records(folder, experiment)

    def run(self) -> None:
        """Train to the end of the schedule, or until a signal."""
        losses, stop_on_budget, stop_on_signal = MeanLoss(), StopOnBudget(self.clock), StopOnSignal()
        steps = self.experiment.steps_per_epoch
        schedule = FollowSchedule(self.optimizer, self.experiment.learning_rate, self.clock, steps)
        trainer = build_trainer(
            self.network,
            self.optimizer,
            dice_focal_loss(self.experiment.network.head, overlapping=self.table.overlapping),
            device=self.device,
            bf16=self.experiment.precision == "bf16",
        )
        attach(trainer, schedule=schedule, losses=losses, stops=[stop_on_budget, stop_on_signal])
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self._end_epoch(engine, losses, schedule))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, stop_on_budget)  # the scoring itself may have used up the time
        _bar_on_terminal(trainer)
        epochs = self.experiment.epochs if self.clock.budget_s is None else 10**6
        trainer.load_state_dict({"epoch_length": steps, "max_epochs": epochs, "iteration": self.first_epoch * steps})
        try:
            with stop_on_signal.listening():
                trainer.run(self._loader(), max_epochs=epochs, epoch_length=steps)
                finished = not stop_on_signal.received
                if finished and stop_on_budget.reached and trainer.state.iteration % steps:
                    self._end_epoch(trainer, losses, schedule)  # the budget ended within an epoch: score and keep what it gave
            if finished:
                self._finish()
            self.records.close("FINISHED" if finished else "KILLED")
        except BaseException:
            self.records.close("FAILED")
            raise

    def _loader(self) -> DataLoader[Any]:
        experiment = self.experiment
        design = self.network.design
        sampling = Sampling(
            patch=experiment.patch,
            border=0 if experiment.network.output == "rescale" else int(design.border),  # type: ignore[union-attr, arg-type]
            neighbours=experiment.preprocessing.neighbours,
            foreground_fraction=experiment.foreground_fraction,
            seed=experiment.seed,
        )
        samples = SliceSamples(self.training_cases, sampling, experiment.augmentation)
        first = self.first_epoch * experiment.steps_per_epoch * experiment.batch_size
        return DataLoader(
            samples,
            batch_size=experiment.batch_size,
            sampler=NumbersFrom(first),
            num_workers=experiment.workers,
            worker_init_fn=_one_thread,
            prefetch_factor=4 if experiment.workers else None,
        )

    def _end_epoch(self, engine: Engine, losses: MeanLoss, schedule: FollowSchedule) -> None:
        epoch = -(-engine.state.iteration // self.experiment.steps_per_epoch)
        started = time.monotonic()
        results = self.validator(self.whole)
        self.clock.learn_reserve(time.monotonic() - started)
        scores = metrics(results, self.table)
        loss = losses.take()
        self._save(epoch, scores.get("val/dice"))
        line = {"train/loss": loss, "learning_rate": schedule.rate, **scores}
        self.folder.log({"epoch": epoch, "used_s": round(self.clock.used_s(), 1), **line})
        self.records.epoch(epoch, line)
        say(_epoch_line(epoch, loss, scores, self.table.names, self._left(epoch)))

    def _save(self, epoch: int, dice: float | None) -> None:
        better = dice is None or self.best is None or dice > self.best
        if better:
            self.best = dice
        state = {
            "epoch": epoch,
            "used_s": self.clock.used_s(),
            "best": self.best,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        save_checkpoint(state, self.folder.last)
        if better:
            weights = {"epoch": epoch, "network": state["network"]}
            save_checkpoint(weights, self.folder.best)
            self.folder.note({"best_epoch": epoch, "best_dice": dice})
        self.folder.note({"epochs_done": epoch, "used_s": round(self.clock.used_s(), 1)})

    def _restore(self) -> float:
        """Goes on from the last checkpoint. Returns: seconds that the run has used before."""
        if not self.folder.last.is_file():
            return 0.0
        state = load_checkpoint(self.folder.last)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.best = state["best"]
        self.first_epoch = int(state["epoch"])
        say(f"unet: going on after epoch {self.first_epoch}")
        return float(state["used_s"])

    def _finish(self) -> None:
        results: list[CaseScores] = []
        if self.validation_cases and self.folder.best.is_file():
            self.network.load_state_dict(load_checkpoint(self.folder.best)["network"])
            results = self.validator(self.whole)
        self.records.finish(results, self.validation_cases, lambda case: self.validator.predict(self.whole, case))
        self.folder.note({"finished": True})

    def _left(self, epoch: int) -> str:
        left_s = self.clock.left_s()
        if self.clock.budget_s is None:
            done = epoch - self.first_epoch
            left_s = (process_age_s() - self.clock.started_s) / max(done, 1) * (self.experiment.epochs - epoch)
        return f"{max(0, left_s) / 60:.0f} min left" if left_s >= 90 else f"{max(0, left_s):.0f} s left"

    def _optimizer(self) -> torch.optim.Optimizer:
        e = self.experiment
        if e.optimizer == "sgd":
            return torch.optim.SGD(
                self.network.parameters(), lr=e.learning_rate, momentum=e.momentum, weight_decay=e.weight_decay
            )
        return torch.optim.AdamW(self.network.parameters(), lr=e.learning_rate, weight_decay=e.weight_decay)

    def _check_channels(self, channels: int) -> None:
        for case in [*self.training_cases, *self.validation_cases]:
            if case.image.shape[1] != channels:
                raise UserError(
                    f"{case.image.shape[1]} image channels, the first case has {channels}",
                    where=case.case,
                    next="All cases of a data set need the same channels.",
                )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)  # the cores belong to the network


def _bar_on_terminal(trainer: Engine) -> None:
    if sys.stderr.isatty():  # ignite's bar writes at every step into a pipe, too
        from ignite.handlers import ProgressBar

        ProgressBar(persist=False).attach(trainer, output_transform=lambda output: {"loss": output["loss"]})


def _epoch_line(epoch: int, loss: float | None, scores: dict[str, float], names: Sequence[str], left: str) -> str:
    parts = [f"epoch {epoch}", "loss n/a" if loss is None else f"loss {loss:.4f}"]
    if "val/dice" in scores:
        each = ", ".join(f"{name} {scores[f'val/dice/{name}']:.3f}" for name in names if f"val/dice/{name}" in scores)
        parts.append(f"Dice {scores['val/dice']:.3f} ({each})")
    return "  ".join([*parts, left])
