"""`mask.json` beside each mask: what the values mean, how much there is, what was noticed, where it came from.

It stays with the images: it names source files and whole SOP Instance UIDs. docs/mask.schema.json says what stands where.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import PurePath
from typing import Any

from ..inference.prediction import Prediction
from ..io.regrid import straight_grid
from ..io.volume import Source, short_uid
from .formats import Format
from .resampled import reasons

FORMAT = 2
SIDECAR, OVERLAY, PAGE = "mask.json", "overlay.png", "report.html"
LIBRARIES = ("highdicom", "nibabel", "pydicom")  # that write the files; the predictor names those that computed the mask


def sidecar(prediction: Prediction, formats: Sequence[Format], *, write_s: float, page: bool) -> dict[str, Any]:
    """The sidecar as plain types.

    Args:
        formats: what was written, the mask first.
        write_s: seconds for it.
        page: whether there is one.
    """
    moved = reasons(prediction)
    return {
        "format": FORMAT,
        "mask": formats[0].file,
        "mask_shape": list(straight_grid(prediction.labels).shape),
        "resampled": list(moved),
        "files": [
            *({"name": row.file, "what": row.what, "exact": row.exact or not moved} for row in formats),
            *(
                {"name": name, "what": what, "exact": "evened" not in moved}  # drawn as read
                for name, what in ((OVERLAY, "picture with outlines"), (PAGE, "page"))
                if page or name != PAGE
            ),
        ],
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
        "image": _image(prediction),
        "slices": _slices(prediction.image.source),
        "notices": [notice.to_json() for notice in prediction.notices],
        "provenance": {**prediction.provenance, **{name: version(name) for name in LIBRARIES}},
        "timings_s": {**prediction.timings_s, "write": round(write_s, 3)},
    }


def _image(prediction: Prediction) -> dict[str, Any]:
    image, source = prediction.image, prediction.image.source
    geometry = source.geometry
    return {
        "name": source.short_name,
        "kind": source.kind,
        "series": short_uid(source.series_uid) or None,
        "series_number": source.series_number,
        "volume": source.volume_name or None,
        "modality": image.modality,
        "shape": list(image.shape),
        "spacing_mm": [_rounded(mm) for mm in image.spacing_mm] if source.spacing_known else None,
        "geometry": geometry.kind if geometry else None,
        "geometry_residual_mm": round(geometry.residual_mm, 4) if geometry else None,
        # without their folders: archives name those after patients
        "files_set_aside": [{"name": PurePath(name).name, "why": why} for name, why in source.files_set_aside],
    }


def _slices(source: Source) -> list[dict[str, Any]]:
    """Which SOP Instance each acquired slice is, and in which slice of the mask it is found."""
    places = source.shown_in or range(len(source.sop_uids))
    frames = source.frame_numbers or (1,) * len(source.sop_uids)
    return [
        {"number": place + 1, "sop_instance_uid": uid, "frame": frame}
        for place, uid, frame in zip(places, source.sop_uids, frames, strict=True)
    ]


def _rounded(value: float) -> float:
    """Six digits, not six places: a voxel of an electron microscope is a 1e-14th of a millilitre."""
    return float(f"{value:.6g}")
