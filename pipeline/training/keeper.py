"""Writes what a session leaves: run.json, log.jsonl, checkpoints, MLflow. Of many processes, only the leading one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..data.case_store import StoredCase
from . import world
from .checkpoint import save_checkpoint
from .experiment import Experiment
from .records import Records
from .run_folder import RunFolder
from .validation import CaseScores


class Keeper:
    """The one hand that writes into a run folder while it is trained."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.records: Records | None = None

    def open_records(self, experiment: Experiment) -> None:
        """Begin or go on with the run in MLflow."""
        if world.leads():
            self.records = Records(self.folder, experiment)

    def note(self, facts: Mapping[str, object]) -> None:
        """Into run.json."""
        if world.leads():
            self.folder.note(facts)

    def epoch(self, epoch: int, used_s: float, line: Mapping[str, float | None]) -> None:
        """The numbers of an epoch into log.jsonl and MLflow."""
        if self.records:
            self.folder.log({"epoch": epoch, "used_s": round(used_s, 1), **line})
            self.records.epoch(epoch, line)

    def save(self, state: Mapping[str, Any], used_s: float, *, better: bool, dice: float | None) -> None:
        """The checkpoint to go on from, and where it is better than those before, the one to hand out."""
        if not world.leads():
            return
        epoch = state["epoch"]
        if better:  # before the last one, which says that it is there
            save_checkpoint({"epoch": epoch, "network": state["network"]}, self.folder.best)
            self.note({"best_epoch": epoch, "best_dice": dice})
        save_checkpoint(dict(state), self.folder.last, previous=self.folder.previous)
        self.note({"epochs_done": epoch, "used_s": round(used_s, 1)})

    def finish(
        self, results: Sequence[CaseScores], cases: Sequence[StoredCase], predict: Callable[[StoredCase], np.ndarray]
    ) -> None:
        """Scores, pictures and page; see `Records.finish`."""
        if self.records:
            self.records.finish(results, cases, predict)
            self.note({"finished": True})
            self.folder.previous.unlink(missing_ok=True)

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """The end of this process' part."""
        if self.records:
            self.records.close(status)
