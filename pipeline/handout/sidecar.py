"""`mask.json` beside each mask: what the values mean, how much there is, what was noticed, where it came from."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from ..errors import Notice
from ..inference.prediction import Prediction
from ..io.volume import Source

FORMAT = 1
SHORTEST_NAME = 5  # file names that are a number of fewer digits are nobody's, and would be found in any sentence


def sidecar(prediction: Prediction, *, mask: str, mask_shape: tuple[int, int, int]) -> dict[str, Any]:
    """The sidecar as plain types. Of the patient it holds nothing: UIDs are cut to 8 digits, names of DICOM files left out.

    Args:
        mask: name of the mask file.
        mask_shape: (columns, rows, slices) of it; not the image's where the image is sheared.
    """
    image, source = prediction.image, prediction.image.source
    geometry = source.geometry
    return {
        "format": FORMAT,
        "mask": mask,
        "mask_shape": list(mask_shape),
        "labels": prediction.table.to_json(),
        "volumes": [
            {
                "value": found.structure.value,
                "name": found.structure.name,
                "voxels": found.voxels,
                "ml": None if found.ml is None else _rounded(found.ml),
                "at_border": found.at_border,
                "text": str(found),
            }
            for found in prediction.structures
        ],
        "image": {
            "name": source.short_name,
            "kind": source.kind,
            "modality": image.modality,
            "shape": list(image.shape),
            "spacing_mm": [_rounded(mm) for mm in image.spacing_mm] if source.spacing_known else None,
            "geometry": geometry.kind if geometry else None,
            "geometry_residual_mm": round(geometry.residual_mm, 4) if geometry else None,
            "files_set_aside": len(source.files_set_aside),
        },
        "notices": [_notice(notice, source) for notice in prediction.notices],
        "provenance": dict(prediction.provenance),
        "timings_s": dict(prediction.timings_s),
    }


def _rounded(value: float) -> float:
    """Six digits, not six places: a voxel of an electron microscope is a 1e-14th of a millilitre."""
    return float(f"{value:.6g}")


def _notice(notice: Notice, source: Source) -> dict[str, str]:
    sentence, where = notice.sentence, notice.where
    if source.kind == "dicom":
        sentence = _without_names(sentence, source)
        where = where if where == source.short_name else ""
    return {"code": notice.code, "sentence": sentence, "where": where}


def _without_names(sentence: str, source: Source) -> str:
    """File names of a DICOM series can hold a patient's; they become 'a file'."""
    names = {path.name for path in source.slice_files} | {PurePath(name).name for name, _ in source.files_set_aside}
    names -= {name for name in names if name.isdigit() and len(name) < SHORTEST_NAME}
    for name in sorted(names, key=len, reverse=True):
        sentence = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w])", "a file", sentence)
    return sentence
