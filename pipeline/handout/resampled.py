"""Say whether a mask lies on another grid than the acquired slices, and why. One answer for every output."""

from __future__ import annotations

from ..inference.prediction import Prediction
from ..io.geometry import SHEAR_MM, shear_distance_mm

EVENED = ("gapped", "irregular")  # such slices only become a volume where the user accepted it


def reasons(prediction: Prediction) -> tuple[str, ...]:
    """'evened' (holes or uneven distances, put on an even grid), 'sheared' (a tilted gantry); () where nothing was moved."""
    image = prediction.image
    geometry = image.source.geometry
    evened = geometry is not None and geometry.kind in EVENED
    sheared = shear_distance_mm(image.affine, image.shape) > SHEAR_MM
    return (*(("evened",) if evened else ()), *(("sheared",) if sheared else ()))
