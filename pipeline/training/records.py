"""What a training leaves for people: MLflow's curves and files, pictures of the best, median and worst case, scores, a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from ..data.case_store import StoredCase
from ..data.slice_grid import label_values
from ..io.paths import write_text
from ..io.volume import Volume
from ..labels import LabelTable
from ..tracking.tracker import Tracker, open_tracker
from .chosen import chosen_scores
from .experiment import Experiment
from .run_folder import RunFolder
from .validation import CaseScores, metrics


def tracker_of(folder: RunFolder, *, over: bool = False) -> Tracker:
    """The run in MLflow that belongs to a run folder: the one it began with, or a new one.

    Args:
        over: nothing is trained here: something is added, and the run's status stays.
    """
    experiment, manifest, fold = folder.experiment(), folder.manifest(), folder.fold
    facts = folder.facts()
    ended: Literal["FINISHED", "KILLED"] = "FINISHED" if facts.get("finished") else "KILLED"
    return open_tracker(
        folder.path,
        experiment="unet",
        run_name="all cases" if fold is None else f"fold {fold}",
        training_key=f"{experiment.digest[:24]}-{manifest.digest[:24]}",
        training_name=experiment.name,
        run_id=str(facts.get("mlflow_run_id") or ""),
        ended=ended if over else None,
    )


class Records:
    """The one listener of a training session."""

    def __init__(self, folder: RunFolder, experiment: Experiment) -> None:
        self.folder = folder
        manifest = folder.manifest()
        self.table = manifest.table
        fold = folder.fold
        self.tracker = tracker_of(folder)
        folder.note({"mlflow_run_id": self.tracker.run_id})
        settings = {name: value for name, value in asdict(experiment).items() if name != "manifest"}
        threads = folder.facts().get("threads", 0)
        self.tracker.log_parameters({**settings, "fold": "none" if fold is None else fold, "threads": threads})
        self.tracker.log_dataset(manifest.name, manifest.digest)
        self.tracker.log_file(folder.experiment_file)

    def epoch(self, epoch: int, line: Mapping[str, float | None]) -> None:
        """One batched write."""
        self.tracker.log_epoch(epoch, {key: value for key, value in line.items() if value is not None})

    def finish(
        self,
        results: Sequence[CaseScores],
        cases: Sequence[StoredCase],
        predict: Callable[[StoredCase], np.ndarray],
    ) -> None:
        """Scores and pictures of the best checkpoint, the page, and everything into the tracker."""
        if results:
            write_text(self.folder.scores / "validation.json", json.dumps(_plain(results, self.table), indent=1) + "\n")
            self.tracker.log_file(self.folder.scores / "validation.json", "scores")
            by_name = {case.case: case for case in cases}
            for rank, result in _three(results):
                picture = self._picture(rank, result, by_name[result.case], predict)
                self.tracker.log_file(picture, "pictures")
        chosen = chosen_scores(self.folder)
        if chosen:
            self.tracker.log_scores(chosen)
            self.tracker.log_file(self.folder.chosen)
        from .page import write_training_page

        page = write_training_page(self.folder, results, cases)
        self.tracker.log_file(page)
        for checkpoint in (self.folder.best, self.folder.last):
            if checkpoint.is_file():
                self.tracker.log_file(checkpoint, "checkpoints")

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        self.tracker.close(status)

    def _picture(self, rank: str, result: CaseScores, case: StoredCase, predict: Callable[[StoredCase], np.ndarray]) -> Path:
        from ..report.overlay import mosaic

        image = Volume(array=np.asarray(case.image[:, 0]).transpose(2, 1, 0), affine=case.affine)
        truth, found = (
            Volume(array=_on_volume_axes(labels, self.table), affine=case.affine)
            for labels in (np.asarray(case.label), predict(case))
        )
        title = f"{rank}: {case.case}, Dice {result.dice:.3f}; prediction in colour, truth in white"
        path = self.folder.pictures / f"{rank}.png"
        mosaic(image, found, self.table, truth=truth, title=title).save(path)
        return path


def _three(results: Sequence[CaseScores]) -> list[tuple[str, CaseScores]]:
    """Best, median and worst case by Dice; of two cases best and worst, of one the best."""
    ordered = sorted(results, key=lambda r: r.dice)
    picks = {"best": ordered[-1], "worst": ordered[0], "median": ordered[len(ordered) // 2]}
    return list(picks.items())[: len(ordered)]


def _on_volume_axes(labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """Class indices or channels of slices → label values (columns, rows, slices[, structures])."""
    if labels.ndim == 4:
        return labels.transpose(3, 2, 0, 1)
    return label_values(labels, table).transpose(2, 1, 0)


def _plain(results: Sequence[CaseScores], table: LabelTable) -> dict[str, object]:
    cases = [{"case": r.case, **{name: asdict(s) for name, s in zip(table.names, r.scores, strict=True)}} for r in results]
    return {"grid": "as the network sees it", "mean": metrics(results, table), "cases": cases}
