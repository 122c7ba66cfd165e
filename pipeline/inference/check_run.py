"""Does a run's network keep its answer in bfloat16, and without the air around the body? Asked before it becomes a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bundle.checks import Checks
from ..bundle.recipe import Recipe
from ..data.load import load_image, load_label
from ..data.manifest import Case
from ..data.slice_grid import slice_grid
from ..evaluation.counts import count, no_counts
from ..evaluation.scores import scores
from ..io.volume import Volume
from ..network.tiling import WholeSlice
from ..progress import bar
from ..training.checkpoint import load_checkpoint
from ..training.cross_folder import is_cross_validation, open_cross_folder
from ..training.run_folder import RunFolder, open_run_folder
from ..training.split import split
from .body import body_box
from .evaluate_run import DEVICE, network_of, recipe_of
from .runtime.torch_runtime import HalfPrecision
from .segment import segment

MOST_CASES = 5


def check_run(run_folder: Path | str) -> Checks:
    """Compare on a few cases, spread over the list: those of the validation, else of the training.

    Of a cross-validation, the first fold's network on its own cases stands for all.

    Raises: UserError where a case cannot be read, or the run has no checkpoint.
    """
    folder = open_run_folder(run_folder) if not is_cross_validation(run_folder) else _first(run_folder)
    state = load_checkpoint(folder.best)
    recipe = replace(recipe_of(folder, state["epoch"]), body_box=False)
    full = network_of(folder, state["network"], recipe)
    half = WholeSlice(HalfPrecision(full.network, DEVICE))  # type: ignore[arg-type]
    manifest, table = folder.manifest(), recipe.table
    training, validation = split(manifest, folder.fold)
    some = _spread(validation or training)
    counted = {"fp32": no_counts(table), "bf16": no_counts(table)}
    same = voxels = 0
    outside: int | None = None
    for case in bar(some, title="checking", unit="case"):
        image = load_image(manifest, case)
        truth = load_label(manifest, case, image).array
        labels = {name: segment(network, image, recipe, device=DEVICE) for name, network in (("fp32", full), ("bf16", half))}
        for name, found in labels.items():
            counted[name] += count(truth, found, table)
        same += int(np.count_nonzero(labels["fp32"] == labels["bf16"]))
        voxels += truth.size
        found_outside = _outside_body(image, labels["fp32"], recipe)
        outside = outside if found_outside is None else (outside or 0) + found_outside
    dices = [[score.dice for score in scores(counted[name])] for name in ("fp32", "bf16")]
    return Checks(
        cases=len(some),
        unseen=bool(validation),
        agreement=same / voxels,
        dice=dict(zip(table.names, zip(*dices, strict=True), strict=True)),
        outside_body=outside,
    )


def _first(run_folder: Path | str) -> RunFolder:
    cross = open_cross_folder(run_folder)
    return cross.run(cross.folds[0])


def _spread(cases: Sequence[Case]) -> list[Case]:
    picks = np.unique(np.linspace(0, len(cases) - 1, min(MOST_CASES, len(cases))).round().astype(int))
    return [cases[pick] for pick in picks]


def _outside_body(image: Volume, labels: np.ndarray, recipe: Recipe) -> int | None:
    """Voxels with a structure outside the box; None where there is no box."""
    grid = slice_grid(image.shape, image.affine, recipe.preprocessing)
    box = body_box(image, grid) if image.modality == "CT" else None
    if box is None:
        return None
    found = grid.turn(labels != recipe.table.outside)
    return int(np.count_nonzero(found) - np.count_nonzero(found[(slice(*box.slices), *box.in_plane)]))
