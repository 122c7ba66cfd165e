"""How a slice is shown on a screen: which way up, how bright, with letters and a scale. Knows nothing of structures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..io.volume import Volume
from .sheet import TEXT_PX, WHITE, font

SOFT_TISSUE_HU = (-160.0, 240.0)
LUNG_HU, BONE_HU = (-1350.0, 150.0), (-500.0, 1300.0)
LUNG_BELOW_HU, BONE_ABOVE_HU = (
    -500.0,
    400.0,
)  # half of a structure's voxels: lungs, cortical bone and metal; not fat or contrast
PERCENTILES = (1.0, 99.0)
SAMPLED = 10**6  # values that a window is found from

# Directions in RAS+ in which the picture's columns and rows run, for slices stacked along R-L, A-P, S-I.
LEFT, BACK, DOWN = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)
SCREENS = {0: (BACK, DOWN, LEFT), 1: (LEFT, DOWN, BACK), 2: (LEFT, BACK, (0.0, 0.0, 1.0))}
LETTERS = (("R", "L"), ("A", "P"), ("H", "F"))  # DICOM's, of each axis of RAS+: its positive and its negative end


def lettering() -> dict[str, Any]:
    """White with a black edge, to be read on any grey; for `ImageDraw.text`."""
    return {"font": font(TEXT_PX), "fill": WHITE, "stroke_width": 1, "stroke_fill": (0, 0, 0)}


def window_of(image: np.ndarray, modality: str) -> tuple[float, float]:
    """The values shown black and white: soft tissue for CT (HU), else the 1st and 99th percentile of the finite values."""
    if modality == "CT":
        return SOFT_TISSUE_HU
    finite = image[np.isfinite(image)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, PERCENTILES)
    return float(low), float(high)


def ct_window(median_hu: float) -> tuple[str, tuple[float, float]]:
    """The window in which a structure of this density, and what lies around it, is told apart: its name, black and white."""
    if median_hu < LUNG_BELOW_HU:
        return "lung", LUNG_HU
    return ("bone", BONE_HU) if median_hu > BONE_ABOVE_HU else ("soft tissue", SOFT_TISSUE_HU)


def screen_affine(image: Volume, axis: int) -> np.ndarray:
    """4x4 whose axes run as a reader of scans wants columns, rows and slices, for slices stacked along this array axis."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(SCREENS[int(np.abs(image.affine[:3, axis]).argmax())]).T
    return affine


def grey_picture(image: np.ndarray, window: tuple[float, float]) -> Image.Image:
    """Values (rows, columns) as grey between the two that become black and white; NaN is black."""
    low, high = window
    scaled = (np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    return Image.fromarray((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8))


def letter_of(direction_ras: np.ndarray) -> str:
    """The side of the patient that lies in this direction: R, L, A, P, H (head) or F (feet)."""
    axis = int(np.abs(direction_ras).argmax())
    return LETTERS[axis][0 if direction_ras[axis] > 0 else 1]


def scale_bar(cell: Image.Image, *, mm_per_px: float) -> None:
    """A bar of a round number of millimetres, about a quarter of the slice wide, at the lower left."""
    length_mm = round_length(cell.width * mm_per_px / 4)
    length_px = length_mm / mm_per_px
    pen = ImageDraw.Draw(cell)
    y = cell.height - 9
    pen.line([(8, y), (8 + length_px, y)], fill=(0, 0, 0), width=5)
    pen.line([(8, y), (8 + length_px, y)], fill=WHITE, width=3)
    pen.text((8, y - 5), f"{length_mm:g} mm", anchor="ls", **lettering())


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, ... (and 0.5, 0.2, ...) that is not larger than this."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(power * factor for factor in (1, 2, 5) if power * factor <= most)


def thinned(grey: np.ndarray) -> np.ndarray:
    """About a million voxels of a volume, evenly spread: enough to find a window from."""
    step = max(1, math.ceil((grey.size / SAMPLED) ** (1 / 3)))
    return grey[::step, ::step, ::step]
