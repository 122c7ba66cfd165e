"""The training slices from which eight-bit computation learns the range of each convolution. They stay with the run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..bundle.recipe import Recipe
from ..data.load import load_image, load_label
from ..data.slice_grid import slice_grid
from ..data.slice_stream import SliceStream
from ..data.spread import spread
from ..network.ranges import Ranges, find_ranges
from ..network.unet import OriginalUNet
from ..progress import bar
from ..training.run_folder import RunFolder
from ..training.split import split

MOST_CASES, MOST_SLICES = 8, 6  # slices of each case


def calibrate(folder: RunFolder, network: OriginalUNet, recipe: Recipe) -> Ranges:
    """Of this run's network, on slices with structures, spread over its training cases.

    Raises: UserError where a case cannot be read.
    """
    return find_ranges(network.cpu(), _slices(folder, recipe))


def _slices(folder: RunFolder, recipe: Recipe) -> Iterator[Tensor]:
    manifest = folder.manifest()
    training, _ = split(manifest, folder.fold)
    for case in bar(spread(training, MOST_CASES), title="calibrating", unit="case"):
        image = load_image(manifest, case)
        label = load_label(manifest, case, image).array
        grid = slice_grid(image.shape, image.affine, recipe.preprocessing)
        holds = [bool((one != recipe.table.outside).any()) for one in grid.turn(label)]
        numbers = np.flatnonzero(holds).tolist() or list(range(grid.slices))
        slices = SliceStream(image, grid, recipe.preprocessing)
        for number in spread(numbers, MOST_SLICES):
            yield torch.from_numpy(slices[number])[None]
