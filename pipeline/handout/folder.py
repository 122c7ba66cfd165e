"""Write one prediction into OUT/<name>/: the mask, its sidecar, an overlay picture; all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import UserError
from ..inference.prediction import Prediction
from ..inference.segment import as_written
from ..io.nifti import write_nifti
from ..io.paths import written_aside
from ..io.picture import write_picture
from ..report.overlay import mosaic
from .sidecar import sidecar

MASK, PICTURE_MASK, SIDECAR, OVERLAY = "mask.nii.gz", "mask.png", "mask.json", "overlay.png"


def write_prediction(prediction: Prediction, out: Path | str) -> Path:
    """Write the folder under a hidden name, then rename it; an earlier prediction of the same name is replaced.

    Returns: the folder. A picture's mask is `mask.png` of the picture's size; everything else gets `mask.nii.gz`.
    Raises: UserError where the place is taken by something else, or cannot be written to.
    """
    if prediction.name in ("", ".", ".."):
        raise UserError("the file has no name before its ending", where=prediction.image.source.path, next="Give it one.")
    target = Path(out) / prediction.name
    _refuse_other_folder(target)
    try:
        with written_aside(target) as aside:
            _write(prediction, aside)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=target, next="Choose another folder with -o.") from error
    return target


def _refuse_other_folder(target: Path) -> None:
    """Raises: UserError where the place holds something that no prediction wrote, and would be lost."""
    if not target.exists():
        return
    names = sorted(path.name for path in target.iterdir()) if target.is_dir() else [target.name]
    others = [name for name in names if name not in (MASK, PICTURE_MASK, SIDECAR, OVERLAY)]
    if others:
        what = f"exists and holds something else than a prediction: {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}"
        raise UserError(what, where=target, next="Choose another folder with -o.")


def _write(prediction: Prediction, folder: Path) -> None:
    labels = prediction.labels
    if prediction.image.source.kind == "picture" and labels.array.ndim == 3 and labels.shape[2] == 1:
        name, shape = PICTURE_MASK, labels.shape
        write_picture(labels.array[:, :, 0], folder / name)
    else:
        grid = as_written(labels, prediction.table)
        name, shape = MASK, grid.shape
        write_nifti(grid, folder / name)
    text = json.dumps(sidecar(prediction, mask=name, mask_shape=shape), indent=1, ensure_ascii=False)
    (folder / SIDECAR).write_text(text + "\n", encoding="utf-8")
    mosaic(prediction.image, labels, prediction.table, title=prediction.name).save(folder / OVERLAY)
