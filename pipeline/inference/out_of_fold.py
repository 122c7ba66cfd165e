"""Segment and score every case of a cross-validation by the one model that did not see it.

A mask that the fold's weights have made already is kept, so the work can be stopped at any time and done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from ..bundle.recipe import Recipe
from ..data.hashing import sha256_of
from ..data.load import load_image, load_label
from ..data.manifest import Case
from ..errors import Notice, UserError
from ..evaluation.table import CaseMasks, EvaluationTable
from ..io.labels import read_label_volume
from ..io.nifti import write_nifti
from ..io.volume import Volume
from ..progress import bar, say
from ..training.checkpoint import load_checkpoint
from ..training.cross_folder import CrossFolder, open_cross_folder
from ..training.guards import alone_in, writing_into
from ..training.run_folder import RunFolder
from .evaluate_run import DEVICE, network_of, notices_of, recipe_of
from .segment import as_written, segment


def evaluate_folds(folder: Path | str, out: Path | None = None) -> EvaluationTable:
    """Masks of all cases into `out_of_fold/`, each on its scan's own grid, and their scores; these go into MLflow, too.

    Args:
        folder: of `unet train --folds all`, every fold trained to its end.
        out: where scores.csv and scores.json go; absent: `scores/` of the folder.
    Raises: UserError where a fold is not finished, or a case cannot be read.
    """
    cross = open_cross_folder(folder)
    manifest = cross.manifest()
    with writing_into(cross), alone_in(cross):
        runs, total = cross.runs, len(manifest.cases)
        say(f"unet: {total} cases, each segmented by the model that did not see it")
        notices: dict[str, Notice] = {}
        masks = bar(_all_masks(cross, runs, notices), title="out of fold", total=total, unit="case")
        table = EvaluationTable.from_cases(masks, manifest.table)
        places = {case.case: place for place, case in enumerate(manifest.cases)}
        rows = tuple(sorted(table.rows, key=lambda row: places[row.case]))
        table = replace(table, rows=rows, notices=tuple(notices.values()), manifest=manifest.digest, fold="all")
        _track(cross, table, table.write(out or cross.scores))
    return table


@dataclass(frozen=True)
class _Model:
    """The network of one fold, loaded when it is needed."""

    run: RunFolder

    @cached_property
    def state(self) -> dict[str, object]:
        return load_checkpoint(self.run.best)

    @cached_property
    def recipe(self) -> Recipe:
        return recipe_of(self.run, int(str(self.state["epoch"])))

    @cached_property
    def network(self) -> nn.Module:
        return network_of(self.run, self.state["network"], self.recipe)  # type: ignore[arg-type]

    @cached_property
    def digest(self) -> str:
        """Of all that decides its masks, but the scan."""
        settings = json.dumps(self.recipe.to_json(), sort_keys=True)
        return hashlib.sha256(f"{sha256_of(self.run.best)} {settings}".encode()).hexdigest()


def _all_masks(cross: CrossFolder, runs: Mapping[int, RunFolder], notices: dict[str, Notice]) -> Iterator[CaseMasks]:
    """Fold by fold, so that one network is held at a time; `notices` gets what each says of its masks, once."""
    for fold, run in runs.items():
        model = _Model(run)
        notices |= {notice.code: notice for notice in notices_of(model.recipe)}
        for case in cross.manifest().cases:
            if case.fold == fold:
                yield _masks(cross, model, case)


def _masks(cross: CrossFolder, model: _Model, case: Case) -> CaseMasks:
    manifest = cross.manifest()
    image = load_image(manifest, case)
    truth = load_label(manifest, case, image)
    file = cross.masks / f"{case.case}.nii.gz"
    predicted = _kept(cross, model, case, file, image)
    if predicted is None:
        predicted = segment(model.network, image, model.recipe, device=DEVICE)
        write_nifti(as_written(replace(image, array=predicted), manifest.table), file)
        made: dict[str, str] = cross.facts().get("masks_made_by", {})  # type: ignore[assignment]
        cross.note({"masks_made_by": {**made, case.case: model.digest}})
    return CaseMasks(case.case, case.patient_id, truth.array, predicted, image.affine if case.spacing_known else None)


def _kept(cross: CrossFolder, model: _Model, case: Case, file: Path, image: Volume) -> np.ndarray | None:
    """The mask that is there, where these weights have made it."""
    made: dict[str, str] = cross.facts().get("masks_made_by", {})  # type: ignore[assignment]
    if made.get(case.case) != model.digest or not file.is_file():
        return None
    try:
        return read_label_volume(file, like=image, table=model.recipe.table).array
    except UserError:  # damaged since
        return None


def _track(cross: CrossFolder, table: EvaluationTable, files: tuple[Path, ...]) -> None:
    """The scores onto the training in MLflow, above its folds."""
    from ..training.records import tracker_of

    last = cross.run(cross.folds[-1])
    if not last.facts().get("mlflow_run_id"):
        return
    tracker = tracker_of(last, over=True)
    tracker.log_scores({f"evaluation/{name}": value for name, value in table.metrics().items()}, training=True)
    for file in files:
        tracker.log_file(file, "scores", training=True)
    tracker.close()
