"""Write one prediction into OUT/<name>/: mask, formats that are wanted, picture, page, sidecar; all or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..inference.prediction import Prediction
from ..io.paths import written_aside
from ..io.volume import Source
from ..report.overlay import mosaic
from .formats import FORMATS, NIFTI, PICTURE, Format, chosen_formats
from .page import write_page
from .resampled import reasons
from .sidecar import OVERLAY, PAGE, SIDECAR, sidecar
from .study import study_of

OURS = (NIFTI.file, PICTURE.file, *(row.file for row in FORMATS), SIDECAR, OVERLAY, PAGE)


def write_prediction(
    prediction: Prediction,
    out: Path | str,
    *,
    formats: Sequence[Format] = (),
    overwrite: bool = False,
    page: bool = True,
    name: str = "",
) -> Path:
    """Write the folder under a hidden name, read every format back, then rename it.

    Args:
        formats: of `chosen_formats`; () is the mask alone.
        overwrite: an earlier prediction of this name is replaced instead of refused; other people's files never are.
        page: also `report.html`.
        name: of the folder; "" for the prediction's own.
    Returns: the folder.
    Raises: UserError where the place is taken, or cannot be written to.
    """
    target = free_place(prediction.image.source, out, overwrite=overwrite, name=name)
    chosen = tuple(formats) or chosen_formats({}, prediction.image, prediction.table)
    try:
        with written_aside(target) as aside:
            _write(prediction, aside, chosen, page=page)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=target, next="Choose another folder with -o.") from error
    return target


def free_place(source: Source, out: Path | str, *, overwrite: bool, name: str = "") -> Path:
    """OUT/<name>. Raises: UserError where something is there that would be lost, or the input has no name."""
    name = name or source.short_name
    if name in ("", ".", ".."):
        raise UserError("the file has no name before its ending", where=source.path, next="Give it one.")
    target = Path(out) / name
    if not target.exists():
        return target
    names = sorted(path.name for path in target.iterdir()) if target.is_dir() else [target.name]
    others = [name for name in names if name not in OURS]
    if others:
        what = f"exists and holds something else than a prediction: {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}"
        raise UserError(what, where=target, next="Choose another folder with -o.")
    if names and not overwrite:
        next_step = "Add --overwrite to replace it, or choose another folder with -o."
        raise UserError("a prediction of this name is there already", where=target, next=next_step)
    return target


def _write(prediction: Prediction, folder: Path, formats: Sequence[Format], *, page: bool) -> None:
    started = time.monotonic()
    study = study_of(prediction.image.source) if any(row.needs == "dicom" for row in formats) else None
    for row in formats:
        row.write(prediction, study, folder / row.file)
    moved = reasons(prediction)
    title = f"{prediction.name} (resampled: {', '.join(moved)})" if moved else prediction.name
    mosaic(prediction.image, prediction.labels, prediction.table, title=title).save(folder / OVERLAY)
    said = sidecar(prediction, formats, write_s=time.monotonic() - started, page=page)
    if page:
        started = time.monotonic()
        write_page(prediction, said, folder / PAGE)
        said["timings_s"]["page"] = round(time.monotonic() - started, 3)
    (folder / SIDECAR).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
