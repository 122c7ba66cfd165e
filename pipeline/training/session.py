"""One process of one training: builds its parts, runs the ignite engine, and at each epoch's end scores, saves and tracks."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from ..data.case_store import store_cases
from ..data.manifest import Case
from ..data.samples import NumbersFrom
from ..errors import UserError
from ..network.tiling import WholeSlice
from ..progress import say
from .border import WithBorder
from .census import class_counts
from .checkpoint import load_checkpoint, save_checkpoint
from .chosen import flips_of
from .cores import usable_cores
from .engine import FollowSchedule, MeanLoss, StopOnBudget, StopOnPatience, StopOnSignal, attach, build_trainer
from .finishing import finish_run, keep_time
from .learner import Learner
from .loss import build_loss
from .memory import keep_freed_memory
from .records import Records
from .run_folder import RunFolder
from .samples import training_samples
from .schedule import Clock, learning_rate
from .skipped import not_finite
from .validation import CaseScores, Validator, metrics


class Session:
    """Everything that one training process holds. Made from a run folder; goes on from its last checkpoint if there is one.

    Args:
        began_s: the moment of `time.monotonic` from which this process counts.
        budget_s: seconds for the whole run, or None.
    Raises: UserError for data that cannot be used, or a budget that is gone before the first step.
    """

    def __init__(
        self, folder: RunFolder, training: Sequence[Case], validation: Sequence[Case], *, began_s: float, budget_s: float | None
    ) -> None:
        self.folder, facts = folder, folder.facts()
        self.experiment = experiment = folder.experiment()
        self.table = folder.manifest().table
        start_s = facts.get("schedule_start_s")
        self.clock = Clock(
            epochs=experiment.epochs,
            budget_s=budget_s,
            began_s=began_s,
            used_s=float(str(facts.get("used_s", 0))),
            start_s=None if start_s is None else float(str(start_s)),
        )
        torch.manual_seed(experiment.seed)
        torch.set_num_threads(experiment.threads or usable_cores())
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        say(f"unet: {len(training)} cases to train on, {len(validation)} to validate on")
        cases = [*training, *validation]
        stored = store_cases(folder.manifest(), cases, experiment.preprocessing, folder.cache, before_each=self.clock.check)
        self.training_cases, self.validation_cases = stored[: len(training)], stored[len(training) :]
        channels = self.training_cases[0].image.shape[1]
        self._check_channels(channels)
        folder.note({"image_channels": channels, "threads": torch.get_num_threads()})
        self.learner = Learner(experiment, self.table, channels, self.device)
        self.whole = WholeSlice(self.learner.judged)
        self.first_epoch = 0
        self.scored_steps = 0
        self.patience = StopOnPatience(experiment.patience)
        self.best: float | None = None
        self.best_results: list[CaseScores] | None = None  # None after a resume, until a better epoch
        self._restore()
        self.validator = Validator(
            self.validation_cases,
            self.table,
            experiment.network.head,
            neighbours=experiment.preprocessing.neighbours,
            device=self.device,
        )
        self.clock.check()
        self.records = Records(folder, experiment)

    def run(self) -> None:
        """Train to the end of the schedule, or until a signal."""
        try:
            finished = self._train()
            if finished:
                self._finish()
            self.records.close("FINISHED" if finished else "KILLED")
        except BaseException as error:
            self.records.close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            words = _in_words(error)
            if words:
                raise words from error
            raise

    def _train(self) -> bool:
        """Returns: whether the schedule came to its end."""
        keep_freed_memory()  # not before: preprocessing frees whole scans that no step needs
        experiment, budget_s = self.experiment, self.clock.budget_s
        steps = experiment.steps_per_epoch
        losses, stop_on_budget, stop_on_signal = MeanLoss(), StopOnBudget(self.clock), StopOnSignal()
        rate_at = partial(
            learning_rate,
            experiment.learning_rate,
            warm_up_fraction=experiment.warm_up_fraction,
            shape=experiment.schedule,
        )
        schedule = FollowSchedule(self.learner.optimizer, rate_at, self.clock, steps)
        trainer = build_trainer(
            self.learner.network,
            self.learner.optimizer,
            build_loss(experiment.loss, experiment.network.head, self._counts()),
            device=self.device,
            bf16=experiment.precision == "bf16",
            gradient_norm=experiment.gradient_norm,
        )
        attach(
            trainer,
            schedule=schedule,
            losses=losses,
            average=self.learner.average,
            stops=[stop_on_budget, stop_on_signal],
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self._end_epoch(engine, losses, schedule))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.patience)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, stop_on_budget)  # the scoring itself may have used up the time
        _bar_on_terminal(trainer)
        epochs = experiment.epochs if budget_s is None else 10**6
        trainer.load_state_dict({"epoch_length": steps, "max_epochs": epochs, "iteration": self.first_epoch * steps})
        with stop_on_signal.listening():
            if budget_s is not None:
                keep_time(self.clock, self.validator, flips_of(experiment, self.table))
                self.clock.learn_reserve(self.validator.expected_s(self.whole))
            self.clock.check()
            self.clock.start()
            self.folder.note({"finished": False, "budget_s": budget_s, "schedule_start_s": self.clock.start_s})
            if self.first_epoch < epochs and not self.patience.reached:  # a trainer that is at its end would begin again
                trainer.run(self._loader(), max_epochs=epochs, epoch_length=steps)
            if stop_on_signal.received:
                return False
            if trainer.state.iteration > self.scored_steps:  # the budget ended within an epoch: score and keep what it gave
                self._end_epoch(trainer, losses, schedule)
        return True

    def _counts(self) -> list[int]:
        """Pixels of each class of the head in the training cases; none where nobody asks."""
        if self.experiment.loss.class_weights == "none":
            return []
        counts = class_counts(self.training_cases, self.table, self.experiment.network.head)
        self.folder.note({"class_pixels": counts})
        return counts

    def _loader(self) -> DataLoader[Any]:
        experiment = self.experiment
        loss = experiment.loss
        samples = training_samples(experiment, self.table, self.training_cases)
        first = self.first_epoch * experiment.steps_per_epoch * experiment.batch_size
        return DataLoader(
            samples,
            batch_size=experiment.batch_size,
            sampler=NumbersFrom(first),
            num_workers=experiment.workers,
            collate_fn=WithBorder(weight=loss.border_weight, sigma_px=loss.border_sigma_px) if loss.border_weight else None,
            worker_init_fn=_prepare_worker,
            prefetch_factor=4 if experiment.workers else None,
            generator=torch.Generator(),  # else starting it would draw from the stream of the dropout, once more after a resume
        )

    def _end_epoch(self, engine: Engine, losses: MeanLoss, schedule: FollowSchedule) -> None:
        self.scored_steps = engine.state.iteration
        epoch = -(-engine.state.iteration // self.experiment.steps_per_epoch)
        if not self.learner.finite:
            raise not_finite(f"the weights are not finite after epoch {epoch}")
        started = time.monotonic()
        results = self.validator(self.whole)
        self.clock.learn_reserve(time.monotonic() - started)
        scores = metrics(results, self.table)
        loss, skipped = losses.take()
        line = {"train/loss": loss, "learning_rate": schedule.rate, **scores}
        if skipped:
            line["train/skipped_steps"] = skipped
        self.folder.log({"epoch": epoch, "used_s": round(self.clock.used_s(), 1), **line})
        self.records.epoch(epoch, line)
        self._save(epoch, results, scores.get("val/dice"))
        say(_epoch_line(epoch, loss, scores, self.table.names, self._left(epoch)))

    def _save(self, epoch: int, results: list[CaseScores], dice: float | None) -> None:
        # no structure in any case, and none found: nothing could be better
        rank = 1.0 if dice is None else dice
        better = not self.validation_cases or self.best is None or rank > self.best
        self.patience.since_best = 0 if better else self.patience.since_best + 1
        state = {
            "epoch": epoch,
            "best": rank if better else self.best,
            "since_best": self.patience.since_best,
            **self.learner.state(),
        }
        if better:  # before the last one, which says that it is there
            self.best, self.best_results = rank, results
            save_checkpoint({"epoch": epoch, "network": state["network"]}, self.folder.best)
            self.folder.note({"best_epoch": epoch, "best_dice": dice})
        save_checkpoint(state, self.folder.last)
        self.folder.note({"epochs_done": epoch, "used_s": round(self.clock.used_s(), 1)})

    def _restore(self) -> None:
        """Goes on from the last checkpoint."""
        if not self.folder.last.is_file():
            return
        state = load_checkpoint(self.folder.last)
        self.learner.restore(state, where=self.folder.last)
        self.best = state["best"]
        self.patience.since_best = int(state.get("since_best", 0))  # the first runs did not count
        self.first_epoch = int(state["epoch"])
        self.scored_steps = self.first_epoch * self.experiment.steps_per_epoch
        say(f"unet: going on after epoch {self.first_epoch}")

    def _finish(self) -> None:
        if self.validation_cases:
            self.learner.judged.load_state_dict(load_checkpoint(self.folder.best)["network"])
            if self.best_results is None:
                self.best_results = self.validator(self.whole)
        finish_run(self.folder, self.validator, self.whole, self.clock)
        results = self.best_results if self.validation_cases else []
        self.records.finish(results or [], self.validation_cases, lambda case: self.validator.predict(self.whole, case))
        self.folder.note({"finished": True})

    def _left(self, epoch: int) -> str:
        left_s = self.clock.expected_s(epoch - self.first_epoch, self.experiment.epochs - epoch)
        return f"{left_s / 60:.0f} min left" if left_s >= 90 else f"{left_s:.0f} s left"

    def _check_channels(self, channels: int) -> None:
        for case in [*self.training_cases, *self.validation_cases]:
            if case.image.shape[1] != channels:
                raise UserError(
                    f"{case.image.shape[1]} image channels, the first case has {channels}",
                    where=case.case,
                    next="All cases of a data set need the same channels.",
                )


def _prepare_worker(worker: int) -> None:
    torch.set_num_threads(1)  # the cores belong to the network
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the trainer decides


def _in_words(error: BaseException) -> UserError | None:
    """What a machine that is too small says, for its user."""
    if isinstance(error, torch.OutOfMemoryError):
        what, advice = "the memory of the GPU is too small", "Train anew with a smaller batch_size, patch or network.width."
        return UserError(what, where="training", next=advice)
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        what = f"a process that prepares samples died ({str(error).splitlines()[0]})"
        advice = "Often memory is short; in a container, shared memory. Set workers: 0 in experiment.yaml and --resume."
        return UserError(what, where="training", next=advice)
    return None


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
