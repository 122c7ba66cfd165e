"""`mask.json` beside each mask: what the values mean, how much there is, what was noticed, where it came from."""

from __future__ import annotations

from typing import Any

from ..inference.prediction import Prediction

FORMAT = 1


def sidecar(prediction: Prediction, *, mask: str) -> dict[str, Any]:
    """The sidecar as plain types. Of the patient it holds nothing; UIDs are cut to their last 8 digits.

    Args:
        mask: name of the mask file.
    """
    image, source = prediction.image, prediction.image.source
    geometry = source.geometry
    return {
        "format": FORMAT,
        "mask": mask,
        "labels": prediction.table.to_json(),
        "volumes": [
            {
                "value": found.structure.value,
                "name": found.structure.name,
                "voxels": found.voxels,
                "ml": round(found.ml, 4) if source.spacing_known else None,
                "at_border": found.at_border,
                "text": str(found) if source.spacing_known else found.pixels,
            }
            for found in prediction.structures
        ],
        "image": {
            "name": source.short_name,
            "kind": source.kind,
            "modality": image.modality,
            "shape": list(image.shape),
            "spacing_mm": [round(mm, 6) for mm in image.spacing_mm] if source.spacing_known else None,
            "series": source.series_uid[-8:],
            "geometry": geometry.kind if geometry else None,
            "geometry_residual_mm": round(geometry.residual_mm, 4) if geometry else None,
            "files_set_aside": len(source.files_set_aside),
        },
        "notices": [{"code": n.code, "sentence": n.sentence, "where": n.where} for n in prediction.notices],
        "provenance": dict(prediction.provenance),
        "timings_s": dict(prediction.timings_s),
    }
