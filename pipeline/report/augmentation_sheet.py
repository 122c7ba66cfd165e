"""What a network sees in training: originals beside their distortions, one sheet. Draws nothing that a training would not."""

from __future__ import annotations

import numpy as np
from monai.transforms import Compose
from PIL import Image, ImageDraw

from ..data.augmentation import DISTORTIONS, Augmentation
from ..data.samples import Patch, SliceSamples
from ..data.slice_grid import label_values
from ..data.transforms import augment, augmentation_transforms
from ..labels import LabelTable
from .overlay import slice_picture
from .screen import lettering
from .sheet import GREY, Mark, sheet_of

DRAWS = 5  # beside each original
TOGETHER = 3  # samples that are shown with all distortions
TILE_PX = 176  # the longer side
HEADROOM = 0.15  # of the original's range, above and below: brighter and noisier draws shall not look cut off
INTENSITY_PERCENTILES = (0.5, 99.5)


def augmentation_sheet(samples: SliceSamples, table: LabelTable, *, title: str = "") -> Image.Image:
    """`augmentation_rows` under each other, with what the colours mean and how often each distortion is drawn."""
    cells = [cell for row in augmentation_rows(samples, table) for cell in row]
    legend = _legend(table, samples.augmentation, framed=samples.sampling.border > 0)
    return sheet_of(cells, 1 + DRAWS, title, legend)


def augmentation_rows(samples: SliceSamples, table: LabelTable) -> list[list[Image.Image]]:
    """A row for each distortion alone, drawn in every sample; then rows with all of them, as often as in training.

    A row is one sample: the original, then its draws. In the rows with all, the first draw is what the training itself makes of
    this sample. Structures are outlined; grey values are scaled alike within a row.
    """
    settings, sampling = samples.augmentation, samples.sampling
    first, *others = (samples.patch(number) for number in range(1 + TOGETHER))
    rows = []
    for name in settings.drawn:
        alone = augmentation_transforms(settings.only(name), swaps=sampling.swaps, limits=sampling.limits)
        rows.append(_row(samples, first, alone, name, table))
    return rows + [_row(samples, patch, samples.transforms, "all together", table) for patch in others]


def shares(settings: Augmentation) -> str:
    """'deformation 70 %, noise 10 %': how often each distortion is drawn."""
    return ", ".join(f"{name} {getattr(settings, DISTORTIONS[name]):.3g}" for name in settings.drawn) or "none"


def _row(samples: SliceSamples, patch: Patch, transforms: Compose, name: str, table: LabelTable) -> list[Image.Image]:
    channel = _shown_channel(samples, patch)
    window = samples.sampling.limits or _window(patch.image[channel])
    pictures = [_cell(samples, patch, patch.image[channel], patch.label, window, "original", table)]
    for draw in range(DRAWS):
        image, label = augment(transforms, patch.image, patch.label, patch.seed + draw)
        pictures.append(_cell(samples, patch, image[channel].numpy(), label.numpy(), window, name, table))
    return pictures


def _shown_channel(samples: SliceSamples, patch: Patch) -> int:
    """The first channel of the middle slice: the one that the label belongs to."""
    neighbours = samples.sampling.neighbours
    return len(patch.image) // (2 * neighbours + 1) * neighbours


def _window(image: np.ndarray) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(image, INTENSITY_PERCENTILES))
    room = HEADROOM * (high - low)
    return low - room, high + room


def _cell(
    samples: SliceSamples,
    patch: Patch,
    image: np.ndarray,
    label: np.ndarray,
    window: tuple[float, float],
    name: str,
    table: LabelTable,
) -> Image.Image:
    rows, columns = image.shape
    column_mm, row_mm, _ = np.linalg.norm(patch.case.affine[:3, :3], axis=0)
    aspect = float(row_mm / column_mm)
    width_px = max(1, round(TILE_PX * min(1.0, columns / (rows * aspect))))
    labels = np.moveaxis(label, 0, -1) if table.overlapping else label_values(label[0], table)
    picture = slice_picture(image, labels, table, window=window, aspect=aspect, width_px=width_px)
    pen = ImageDraw.Draw(picture)
    border = samples.sampling.border
    if border:
        across, down = picture.width / columns, picture.height / rows
        corners = (border * across, border * down, (columns - border) * across - 1, (rows - border) * down - 1)
        pen.rectangle(corners, outline=GREY)
    pen.text((4, 2), name, **lettering())
    return picture


def _legend(table: LabelTable, settings: Augmentation, *, framed: bool) -> list[Mark]:
    marks: list[Mark] = [(structure.name, structure.colour) for structure in table.structures]
    if framed:
        marks.append(("frame: what the output covers", GREY))
    marks.append((f"share of the samples in training: {shares(settings)}", None))
    off = [name for name in DISTORTIONS if name not in settings.drawn]
    return [*marks, (f"off: {', '.join(off)}", None)] if off else marks
