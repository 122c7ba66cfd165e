"""How a slice is shown on a screen: which way up, how bright, with letters and a scale. Knows nothing of structures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..io.volume import Volume
from .sheet import TEXT_PX, WHITE, font

SOFT_TISSUE_HU = (-160.0, 240.0)
PERCENTILES = (1.0, 99.0)

# Directions in RAS+ in which the picture's columns and rows run, for slices stacked along R-L, A-P, S-I.
LEFT, BACK, DOWN = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)
SCREENS = {0: (BACK, DOWN, LEFT), 1: (LEFT, DOWN, BACK), 2: (LEFT, BACK, (0.0, 0.0, 1.0))}
LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))  # of each axis of RAS+: its positive and its negative end


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
    """The side of the patient that lies in this direction: R, L, A, P, S or I."""
    axis = int(np.abs(direction_ras).argmax())
    return LETTERS[axis][0 if direction_ras[axis] > 0 else 1]


def scale_bar(cell: Image.Image, *, mm_per_px: float) -> None:
    """A bar of a round number of millimetres, about a quarter of the slice wide, at the lower left."""
    wanted_mm = cell.width * mm_per_px / 4
    power = 10.0 ** math.floor(math.log10(wanted_mm))
    length_mm = max(power * factor for factor in (1, 2, 5) if power * factor <= wanted_mm)
    length_px = length_mm / mm_per_px
    pen = ImageDraw.Draw(cell)
    y = cell.height - 9
    pen.line([(8, y), (8 + length_px, y)], fill=(0, 0, 0), width=5)
    pen.line([(8, y), (8 + length_px, y)], fill=WHITE, width=3)
    pen.text((8, y - 5), f"{length_mm:g} mm", anchor="ls", **lettering())
