"""One process of one training: builds its parts, runs the ignite engine, and at each epoch's end scores, saves and tracks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from ..cores import usable_cores
from ..data.case_store import StoredCase, store_cases
from ..data.manifest import Case
from ..errors import UserError
from ..network.tiling import WholeSlice
from ..progress import say
from . import world
from .census import class_counts, volume_ranges_ml
from .checkpoint import load_checkpoint
from .chosen import flips_of
from .engine import FollowSchedule, MeanLoss, StopOnBudget, StopOnPatience, StopOnSignal, attach
from .experiment import Experiment
from .finishing import finish_run, keep_time
from .keeper import Keeper
from .learner import Learner
from .memory import keep_freed_memory
from .run_folder import RunFolder
from .samples import training_loader
from .schedule import Clock, learning_rate
from .skipped import not_finite
from .step_times import StepTimes
from .told import bar_on_terminal, epoch_line, in_words
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
        self.keeper = Keeper(folder)
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
        _check_shares(experiment)
        torch.manual_seed(experiment.seed)
        torch.set_num_threads(experiment.threads or max(1, usable_cores() // world.on_this_machine()))
        self.device = idist.device()
        say(f"unet: {len(training)} cases to train on, {len(validation)} to validate on")
        stored = self._stored([*training, *validation])
        self.training_cases, self.validation_cases = stored[: len(training)], stored[len(training) :]
        channels = self.training_cases[0].image.shape[1]
        self._check_channels(channels)
        self.keeper.note({"image_channels": channels, "threads": torch.get_num_threads()})
        if all(case.spacing_known for case in training):
            self.keeper.note({"volumes_ml": volume_ranges_ml(self.training_cases, self.table)})
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
        self._check_time()
        self.keeper.open_records(experiment)

    def run(self) -> None:
        """Train to the end of the schedule, or until a signal."""
        try:
            finished = self._train()
            if finished:
                self._finish()
            self.keeper.close("FINISHED" if finished else "KILLED")
        except BaseException as error:
            if world.one_gone(error):  # at once: the launcher ends this process in a moment, and MLflow may be slow
                say("unet: another process of this training ended")
            self.keeper.close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            words = in_words(error)
            if words:
                raise words from error
            raise

    def _train(self) -> bool:
        """Returns: whether the schedule came to its end."""
        keep_freed_memory()  # not before: preprocessing frees whole scans that no step needs
        experiment, budget_s = self.experiment, self.clock.budget_s
        steps = experiment.steps_per_epoch
        losses, times, stop_on_budget, stop_on_signal = MeanLoss(), StepTimes(), StopOnBudget(self.clock), StopOnSignal()
        rate_at = partial(
            learning_rate,
            experiment.learning_rate,
            warm_up_fraction=experiment.warm_up_fraction,
            shape=experiment.schedule,
        )
        schedule = FollowSchedule(self.learner.optimizer, rate_at, self.clock, steps)
        trainer = self.learner.trainer(experiment, self._counts())
        attach(
            trainer,
            schedule=schedule,
            losses=losses,
            times=times,
            average=self.learner.average,
            stops=[stop_on_budget, stop_on_signal],
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self._end_epoch(engine, losses, times, schedule))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.patience)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, stop_on_budget)  # the scoring itself may have used up the time
        bar_on_terminal(trainer)
        epochs = experiment.epochs if budget_s is None else 10**6
        trainer.load_state_dict({"epoch_length": steps, "max_epochs": epochs, "iteration": self.first_epoch * steps})
        with stop_on_signal.listening():
            if budget_s is not None:
                keep_time(self.clock, self.validator, flips_of(experiment, self.table), processes=world.size())
                self.clock.learn_reserve(self.validator.expected_s(self.whole))
            self._check_time()
            self.clock.start()
            self.keeper.note({"finished": False, "budget_s": budget_s, "schedule_start_s": self.clock.start_s})
            if self.first_epoch < epochs and not self.patience.reached:  # a trainer that is at its end would begin again
                trainer.run(self._loader(), max_epochs=epochs, epoch_length=steps)
            if stop_on_signal.stopped:
                return False
            if trainer.state.iteration > self.scored_steps:  # the budget ended within an epoch: score and keep what it gave
                self._end_epoch(trainer, losses, times, schedule)
        return True

    def _stored(self, cases: list[Case]) -> list[StoredCase]:
        """All cases preprocessed, by one process for all."""
        manifest, settings, cache = self.folder.manifest(), self.experiment.preprocessing, self.folder.cache
        if world.leads():
            store_cases(manifest, cases, settings, cache, before_each=self.clock.check)
        world.wait_for_all()
        return store_cases(manifest, cases, settings, cache)

    def _counts(self) -> list[int]:
        """Pixels of each class of the head in the training cases; none where nobody asks."""
        if self.experiment.loss.class_weights == "none":
            return []
        counts = class_counts(self.training_cases, self.table, self.experiment.network.head)
        self.keeper.note({"class_pixels": counts})
        return counts

    def _loader(self) -> DataLoader[Any]:
        first = self.first_epoch * self.experiment.steps_per_epoch * self.experiment.batch_size
        return training_loader(self.experiment, self.table, self.training_cases, first)

    def _end_epoch(self, engine: Engine, losses: MeanLoss, times: StepTimes, schedule: FollowSchedule) -> None:
        self.scored_steps = engine.state.iteration
        epoch = -(-engine.state.iteration // self.experiment.steps_per_epoch)
        if not self.learner.finite:
            raise not_finite(f"the weights are not finite after epoch {epoch}")
        started = time.monotonic()
        results = self.validator(self.whole)
        self.clock.learn_reserve(time.monotonic() - started)
        scores = metrics(results, self.table)
        loss, skipped = losses.take()
        line = {"train/loss": loss, "learning_rate": schedule.rate, **times.take(), **scores}
        if skipped:
            line["train/skipped_steps"] = skipped
        self.keeper.epoch(epoch, self.clock.used_s(), line)
        self._save(epoch, results, scores.get("val/dice"))
        left_s = self.clock.expected_s(epoch - self.first_epoch, self.experiment.epochs - epoch)
        say(epoch_line(epoch, loss, scores, self.table.names, left_s))

    def _save(self, epoch: int, results: list[CaseScores], dice: float | None) -> None:
        # no structure in any case, and none found: nothing could be better
        rank = 1.0 if dice is None else dice
        better = not self.validation_cases or self.best is None or rank > self.best
        if better:
            self.best, self.best_results = rank, results
        self.patience.since_best = 0 if better else self.patience.since_best + 1
        state = {"epoch": epoch, "best": self.best, "since_best": self.patience.since_best, **self.learner.state()}
        self.keeper.save(state, self.clock.used_s(), better=better, dice=dice)

    def _restore(self) -> None:
        """Goes on from the last checkpoint."""
        if not self.folder.last.is_file():
            return
        state, place = self._last_good()
        self.learner.restore(state, where=place)
        self.best = state["best"]
        self.patience.since_best = int(state.get("since_best", 0))  # the first runs did not count
        self.first_epoch = int(state["epoch"])
        self.scored_steps = self.first_epoch * self.experiment.steps_per_epoch
        say(f"unet: going on after epoch {self.first_epoch}")

    def _last_good(self) -> tuple[dict[str, Any], Path]:
        """The last checkpoint that can be read, and where it lies. Raises: UserError where neither of the two can."""
        try:
            return load_checkpoint(self.folder.last), self.folder.last
        except UserError as error:
            if not self.folder.previous.is_file():
                raise
            say(f"unet: {error} The one before it is used.")
            return load_checkpoint(self.folder.previous), self.folder.previous

    def _finish(self) -> None:
        world.wait_for_all()  # until the best checkpoint is written
        if self.validation_cases:
            self.learner.judged.load_state_dict(load_checkpoint(self.folder.best)["network"])
            if self.best_results is None:
                self.best_results = self.validator(self.whole)
        if world.leads():
            finish_run(self.folder, self.validator, self.whole, self.clock, processes=world.size())
        results = self.best_results if self.validation_cases else []
        self.keeper.finish(results or [], self.validation_cases, lambda case: self.validator.predict(self.whole, case))

    def _check_time(self) -> None:
        if world.leads():
            self.clock.check()

    def _check_channels(self, channels: int) -> None:
        for case in [*self.training_cases, *self.validation_cases]:
            if case.image.shape[1] != channels:
                raise UserError(
                    f"{case.image.shape[1]} image channels, the first case has {channels}",
                    where=case.case,
                    next="All cases of a data set need the same channels.",
                )


def _check_shares(experiment: Experiment) -> None:
    if experiment.batch_size % world.size():
        what = f"batch_size: {experiment.batch_size} cannot be dealt out evenly to {world.size()} processes"
        raise UserError(what, where="torchrun", next="Start as many processes as divide it, or train anew with another.")
