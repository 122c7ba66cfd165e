"""Probabilities and uncertainty as NIfTI, voxel for voxel where the mask lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import UserError
from ..inference.prediction import Prediction
from ..io.nifti import write_nifti
from ..io.regrid import orthogonal
from ..io.volume import Volume


def write_probabilities(prediction: Prediction, path: Path) -> None:
    """float32 from 0 to 1, a channel a structure in the order of the table; one structure alone needs no fourth axis."""
    found = prediction.probabilities
    _write(prediction, found[..., 0] if found is not None and found.shape[-1] == 1 else found, path, "probabilities")


def write_uncertainty(prediction: Prediction, path: Path) -> None:
    """float32: the entropy, from 0 to 1."""
    _write(prediction, prediction.uncertainty, path, "uncertainty")


def _write(prediction: Prediction, found: np.ndarray | None, path: Path, name: str) -> None:
    """Raises: UserError where the prediction was made without."""
    if found is None:
        raise UserError(f"the prediction was made without {name}", where=path.name, next=f"Call predict(..., {name}=True).")
    image = prediction.image
    volume = Volume(array=found, affine=image.affine, source=prediction.labels.source)
    write_nifti(orthogonal(volume, labels=True, outside=0), path)  # whole pixels, so that it stays on the mask
