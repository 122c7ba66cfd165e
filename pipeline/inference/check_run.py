"""Does a run's network keep its answer in fewer bits, and without the air around the body? Asked before it becomes a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from ..bundle.checks import Checks, Difference
from ..bundle.contents import Checkpoint
from ..bundle.recipe import Recipe
from ..data.load import load_image, load_label
from ..data.slice_grid import slice_grid
from ..data.spread import spread
from ..evaluation.counts import Counts, count, no_counts
from ..evaluation.scores import scores
from ..io.volume import Volume
from ..labels import LabelTable
from ..network.precision import Precision
from ..network.ranges import Ranges
from ..network.tiling import WholeSlice
from ..network.unet import OriginalUNet
from ..progress import bar
from ..training.checkpoint import load_checkpoint
from ..training.cross_folder import is_cross_validation, open_cross_folder
from ..training.run_folder import RunFolder, open_run_folder
from ..training.split import split
from .body import body_box
from .calibrate import calibrate
from .evaluate_run import DEVICE, network_of, recipe_of
from .runtime.catalogue import check
from .runtime.torch_runtime import HalfPrecision
from .segment import segment

MOST_CASES = 5
CPU = torch.device("cpu")


def check_run(run_folder: Path | str, checkpoint: Checkpoint = "best", *, int8: bool = False) -> Checks:
    """Compare on a few cases, spread over the list: those of the validation, else of the training.

    Of a cross-validation, the first fold's network on its own cases stands for all.

    Args:
        checkpoint: which weights.
        int8: also find what computing in eight bits needs to know, and compare that.
    Raises: UserError where a case cannot be read, the run has no checkpoint, or for int8 OpenVINO is not installed.
    """
    if int8:
        check("openvino", "int8", CPU)
    runs = _runs(run_folder)
    recipe, full = _network(runs[0], checkpoint)
    recipe = replace(recipe, body_box=False)
    ranges = tuple(_ranges(runs, checkpoint)) if int8 else ()
    ways = list(_ways(full, ranges))
    manifest, table = runs[0].manifest(), recipe.table
    training, validation = split(manifest, runs[0].fold)
    some = spread(validation or training, MOST_CASES)
    exact = no_counts(table)
    outside: int | None = None
    voxels = 0
    tallies = [_Tally(counts=no_counts(table)) for _ in ways]
    for case in bar(some, title="checking", unit="case"):
        image = load_image(manifest, case)
        truth = load_label(manifest, case, image).array
        labels = segment(full, image, recipe, device=DEVICE)
        exact += count(truth, labels, table)
        voxels += truth.size
        for (_, network, device), tally in zip(ways, tallies, strict=True):
            other = segment(network, image, recipe, device=device)
            tally.counts += count(truth, other, table)
            tally.same += int(np.count_nonzero(labels == other))
        found_outside = _outside_body(image, labels, recipe)
        outside = outside if found_outside is None else (outside or 0) + found_outside
    return Checks(
        cases=len(some),
        unseen=bool(validation),
        differences={way[0]: tally.against(exact, voxels, table) for way, tally in zip(ways, tallies, strict=True)},
        outside_body=outside,
        ranges=ranges,
    )


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Of one precision, over all cases."""

    counts: Counts
    same: int = 0  # voxels with the label that fp32 gives them

    def against(self, exact: Counts, voxels: int, table: LabelTable) -> Difference:
        dices = [[score.dice for score in scores(counts)] for counts in (exact, self.counts)]
        return Difference(agreement=self.same / voxels, dice=dict(zip(table.names, zip(*dices, strict=True), strict=True)))


def _runs(run_folder: Path | str) -> list[RunFolder]:
    """The run, or those of all folds."""
    if not is_cross_validation(run_folder):
        return [open_run_folder(run_folder)]
    cross = open_cross_folder(run_folder)
    return [cross.run(fold) for fold in cross.folds]


def _network(folder: RunFolder, checkpoint: Checkpoint) -> tuple[Recipe, WholeSlice]:
    state = load_checkpoint(folder.best if checkpoint == "best" else folder.last)
    recipe = recipe_of(folder, state["epoch"])
    return recipe, cast(WholeSlice, network_of(folder, state["network"], recipe))


def _ranges(runs: list[RunFolder], checkpoint: Checkpoint) -> Iterator[Ranges]:
    for run in runs:
        recipe, whole = _network(run, checkpoint)
        yield calibrate(run, cast(OriginalUNet, whole.network), recipe)


def _ways(full: WholeSlice, ranges: tuple[Ranges, ...]) -> Iterator[tuple[Precision, nn.Module, torch.device]]:
    """The network in each other precision, and where it is computed."""
    network = cast(OriginalUNet, full.network)
    yield "bf16", WholeSlice(HalfPrecision(network, DEVICE)), DEVICE
    if ranges:
        from .runtime.onnx_graph import onnx_model
        from .runtime.openvino_runtime import start

        yield "int8", WholeSlice(start(network, "int8", CPU, lambda: onnx_model(network, ranges[0]))), CPU


def _outside_body(image: Volume, labels: np.ndarray, recipe: Recipe) -> int | None:
    """Voxels with a structure outside the box; None where there is no box."""
    grid = slice_grid(image.shape, image.affine, recipe.preprocessing)
    box = body_box(image, grid) if image.modality == "CT" else None
    if box is None:
        return None
    found = grid.turn(labels != recipe.table.outside)
    return int(np.count_nonzero(found) - np.count_nonzero(found[(slice(*box.slices), *box.in_plane)]))
