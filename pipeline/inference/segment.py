"""A volume through a network, slice by slice, to label values on the volume's own grid. The one implementation: the clinic's
predictor, the evaluation of a run and the bundle under MONAI all call this, so they cannot differ.

Memory beside the volume: the label map, and what one slice takes; never the floats or the scores of the whole volume.
"""

from __future__ import annotations

import math
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
from .body import Box, body_box

Bar = Callable[[Iterable[int]], Iterable[int]]
Place = tuple[int, slice, slice]  # slice, rows and columns, as `SliceGrid.turn` numbers them
See = Callable[[Place, Tensor], None]


def segment(
    network: nn.Module, volume: Volume, recipe: Recipe, *, device: torch.device, bar: Bar = iter, see: See | None = None
) -> np.ndarray:
    """Label values of every voxel.

    Args:
        network: any image size in, scores of the same size out (`WholeSlice`); in evaluation mode.
        bar: wraps the slice numbers, to show progress.
        see: is shown all that labels are decided from: places, and the scores (1, K, rows, columns) there.
    Returns: uint8 (columns, rows, slices) of label values, or for overlapping structures (columns, rows, slices, structures).
    Raises: UserError where the volume is not what the bundle was trained for.
    """
    check_fits(volume, recipe)
    grid = slice_grid(volume.shape, volume.affine, recipe.preprocessing)
    slices = SliceStream(volume, grid, recipe.preprocessing)
    box = box_of(volume, grid, recipe)
    labels = empty_labels(grid, recipe)
    turned = grid.turn(labels)
    with torch.inference_mode():
        for index in bar(range(*box.slices)):
            image = torch.from_numpy(slices[index])[None].to(device)
            scores = scores_within(network, image, grid, box)
            turned[(index, *box.in_plane)] = labels_of_slice(scores, recipe)
            if see is not None:
                see((index, *box.in_plane), scores)
    return postprocess(labels, recipe.table, recipe.postprocessing, voxel_ml(volume.affine))


def box_of(volume: Volume, grid: SliceGrid, recipe: Recipe) -> Box:
    """The part of the slices that is segmented: the body of a CT where the bundle says so, else everything."""
    body = body_box(volume, grid) if recipe.body_box and "CT" in (volume.modality, recipe.modality) else None
    return body or Box(slices=(0, grid.slices), rows=(0, grid.source_rows), columns=(0, grid.source_columns))


def scores_within(network: nn.Module, image: Tensor, grid: SliceGrid, box: Box) -> Tensor:
    """Scores of the box in one slice, on the source's pixels: those of the whole slice, cut, but at the cost of the box.

    Args:
        image: (1, C, rows, columns) as the network sees it.
    Returns: (1, K, rows of the box, columns of the box).
    """
    if not grid.resampled:
        return network(image, (box.rows, box.columns))  # type: ignore[no-any-return]
    rows, columns = (
        _on_network(span, source, sees)
        for span, source, sees in (
            (box.rows, grid.source_rows, grid.rows),
            (box.columns, grid.source_columns, grid.columns),
        )
    )
    scores = network(image, (rows, columns))
    # on the whole slice again, so that each pixel is mixed from the same neighbours as without a box
    around = (columns[0], grid.columns - columns[1], rows[0], grid.rows - rows[1])
    whole = nn.functional.pad(scores, around, mode="replicate") if any(around) else scores
    return on_source_pixels(whole, grid)[(..., *box.in_plane)]


def on_source_pixels(scores: Tensor, grid: SliceGrid) -> Tensor:
    """Scores of a whole slice (1, K, rows, columns) on the network's pixels → on the source's.

    Before any decision: an outline decided on coarse pixels would have their steps.
    """
    if not grid.resampled:
        return scores
    size = (grid.source_rows, grid.source_columns)
    return nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def _on_network(span: tuple[int, int], source: int, sees: int) -> tuple[int, int]:
    """The network's pixels that bilinear resampling takes for these of the source."""
    scale = sees / source
    return max(0, math.floor((span[0] + 0.5) * scale - 0.5)), min(sees, math.ceil((span[1] - 0.5) * scale + 0.5) + 1)


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
    """The labels of a volume in which nothing is found yet, each slice of the network in one piece of memory.

    Returns: (columns, rows, slices[, structures]) uint8 of the background, a view of (slices, rows, columns[, structures]).
    """
    structures = (len(recipe.table.structures),) if recipe.table.overlapping else ()
    return grid.turn_back(
        np.full((grid.slices, grid.source_rows, grid.source_columns, *structures), recipe.table.outside, dtype=np.uint8)
    )


def labels_of_slice(scores: Tensor, recipe: Recipe) -> np.ndarray:
    """Scores of one slice, or of a box in it, (1, K, rows, columns) → label values of these pixels.

    Returns: uint8 (rows, columns), or (rows, columns, structures) of 0 and 1 where structures overlap; as `grid.turn` has them.
    """
    chosen = decide(scores, recipe.head, overlapping=recipe.table.overlapping)[0].cpu().numpy()
    return np.moveaxis(chosen, 0, -1) if recipe.table.overlapping else label_values(chosen, recipe.table)


def as_written(labels: Volume, table: LabelTable) -> Volume:
    """The labels on the grid that a NIfTI file can hold: their own, or a right-angled one with background around it."""
    return orthogonal(labels, labels=True, outside=table.outside)
