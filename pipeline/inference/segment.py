"""A volume through a network, slice by slice, to label values on the volume's own grid. The one implementation: the clinic's
predictor, the evaluation of a run and the bundle under MONAI all call this, so they cannot differ.

Memory beside the volume: the label map, and what one slice takes; never the floats or the scores of the whole volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from ..bundle.recipe import Recipe
from ..data.postprocess import postprocess
from ..data.slice_grid import SliceGrid, label_values, slice_grid
from ..data.slice_stream import SliceStream
from ..errors import UserError
from ..io.geometry import voxel_ml
from ..io.regrid import orthogonal
from ..io.volume import Volume
from ..labels import LabelTable
from ..network.decide import decide

Bar = Callable[[Iterable[int]], Iterable[int]]


def segment(network: nn.Module, volume: Volume, recipe: Recipe, *, device: torch.device, bar: Bar = iter) -> np.ndarray:
    """Label values of every voxel.

    Args:
        network: any image size in, scores of the same size out (`WholeSlice`); in evaluation mode.
        bar: wraps the slice numbers, to show progress.
    Returns: uint8 (columns, rows, slices) of label values, or for overlapping structures (columns, rows, slices, structures).
    Raises: UserError where the volume is not what the bundle was trained for.
    """
    check_fits(volume, recipe)
    grid = slice_grid(volume.shape, volume.affine, recipe.preprocessing)
    slices = SliceStream(volume, grid, recipe.preprocessing)
    labels = empty_labels(grid, recipe)
    turned = grid.turn(labels)
    with torch.inference_mode():
        for index in bar(range(grid.slices)):
            scores = network(torch.from_numpy(slices[index])[None].to(device))
            turned[index] = labels_of_slice(scores, grid, recipe)
    return postprocess(labels, recipe.table, recipe.postprocessing, voxel_ml(volume.affine))


def check_fits(volume: Volume, recipe: Recipe) -> None:
    """Raises: UserError where the volume is of another modality, has other channels, or lacks the pixel size that is needed."""
    where = volume.source.short_name
    channels = volume.array.shape[3] if volume.array.ndim == 4 else 1
    if channels != recipe.image_channels:
        raise UserError(f"{channels} image channels, the bundle was trained on {recipe.image_channels}", where=where)
    if volume.modality and recipe.modality and volume.modality != recipe.modality:
        raise UserError(
            f"the modality is {volume.modality}, the bundle was trained on {recipe.modality}",
            where=where,
            next="Choose a bundle for this modality.",
        )
    if recipe.preprocessing.spacing_mm > 0 and volume.source.kind == "picture" and not volume.source.spacing_known:
        raise UserError(
            f"no pixel size is known, and the bundle needs it: it was trained on {recipe.preprocessing.spacing_mm:g} mm",
            where=where,
            next="State it with --pixel-size MM.",
        )
    if not volume.source.spacing_known and any(steps.smallest_ml for steps in recipe.postprocessing.values()):
        raise UserError(
            "it is not known how large a voxel is, and the bundle needs it: it removes pieces below a size in ml",
            where=where,
            next="State it with --pixel-size MM." if volume.source.kind == "picture" else "",
        )


def empty_labels(grid: SliceGrid, recipe: Recipe) -> np.ndarray:
    """Room for the label values of the volume, each slice of the network in one piece of memory.

    Returns: (columns, rows, slices[, structures]) uint8 of 0, a view of (slices, rows, columns[, structures]).
    """
    structures = (len(recipe.table.structures),) if recipe.table.overlapping else ()
    return grid.turn_back(np.zeros((grid.slices, grid.source_rows, grid.source_columns, *structures), dtype=np.uint8))


def labels_of_slice(scores: Tensor, grid: SliceGrid, recipe: Recipe) -> np.ndarray:
    """Scores of one slice (1, K, rows, columns) on the network's pixels → label values on the source's.

    The scores are resampled before the decision: an outline decided on coarse pixels would have their steps.

    Returns: uint8 (rows, columns), or (rows, columns, structures) of 0 and 1 where structures overlap; as `grid.turn` has them.
    """
    if grid.resampled:
        size = (grid.source_rows, grid.source_columns)
        scores = nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)
    chosen = decide(scores, recipe.head, overlapping=recipe.table.overlapping)[0].cpu().numpy()
    return np.moveaxis(chosen, 0, -1) if recipe.table.overlapping else label_values(chosen, recipe.table)


def as_written(labels: Volume, table: LabelTable) -> Volume:
    """The labels on the grid that a NIfTI file can hold: their own, or a right-angled one with background around it."""
    return orthogonal(labels, labels=True, outside=0 if table.overlapping else table.background)
