"""Write one prediction into OUT/<name>/: the mask, its sidecar, an overlay picture; all or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..errors import UserError
from ..inference.prediction import Prediction
from ..io.nifti import write_nifti
from ..io.paths import temporary_beside
from ..io.picture import write_picture
from ..io.regrid import orthogonal
from ..report.overlay import mosaic
from .sidecar import sidecar


def write_prediction(prediction: Prediction, out: Path | str) -> Path:
    """Write the folder under a hidden name, then rename it; an earlier prediction of the same name is replaced.

    Returns: the folder. A picture's mask is `mask.png` of the picture's size; everything else gets `mask.nii.gz`.
    Raises: UserError where the place is taken by something else.
    """
    target = Path(out) / prediction.name
    if target.exists() and not (target / "mask.json").is_file():
        raise UserError("exists and is not a prediction", where=target, next="Choose another folder with -o.")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary_beside(target, "")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        mask = _write_mask(prediction, aside)
        text = json.dumps(sidecar(prediction, mask=mask), indent=1, ensure_ascii=False)
        (aside / "mask.json").write_text(text + "\n", encoding="utf-8")
        overlay = mosaic(prediction.image, prediction.labels, prediction.table, title=prediction.name)
        overlay.save(aside / "overlay.png")
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _write_mask(prediction: Prediction, folder: Path) -> str:
    labels = prediction.labels
    if prediction.image.source.kind == "picture" and labels.array.ndim == 3 and labels.shape[2] == 1:
        write_picture(labels.array[:, :, 0], folder / "mask.png")
        return "mask.png"
    write_nifti(orthogonal(labels, labels=True), folder / "mask.nii.gz")
    return "mask.nii.gz"
