"""The mask itself: NIfTI on a right-angled grid, or a PNG for a picture. Both are read back where they are written."""

from __future__ import annotations

from pathlib import Path

from ..inference.prediction import Prediction
from ..inference.segment import as_written
from ..io.nifti import write_nifti
from ..io.picture import write_picture


def write_nifti_mask(prediction: Prediction, path: Path) -> None:
    """Label values, or for overlapping structures one channel of 0 and 1 each."""
    write_nifti(as_written(prediction.labels, prediction.table), path)


def write_picture_mask(prediction: Prediction, path: Path) -> None:
    """Label values as grey values, of a picture of one page."""
    write_picture(prediction.labels.array[:, :, 0], path)
