"""Labels and modality from a dataset.json of the Decathlon or of nnU-Net. Knows nothing of the images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import UserError


def read_description(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"is not a JSON file ({error})", where=path, next="Repair it or move it away.") from error
    return data if isinstance(data, dict) else {}


def described_labels(described: Mapping[str, object], where: Path) -> dict[str, int]:
    """Both notations: {"1": "liver"} of the Decathlon, {"liver": 1} of nnU-Net."""
    raw = described.get("labels")
    labels: dict[str, int] = {}
    for key, value in raw.items() if isinstance(raw, dict) else ():
        name, number = (value, key) if isinstance(value, str) and str(key).isdigit() else (key, value)
        if isinstance(number, list):
            what = f"{name} is a region of several values {number}, which is not read"
            raise UserError(
                what, where=where, next="Write one mask file a structure and list them in a CSV, with --overlapping."
            )
        if str(name).lower() == "ignore":
            what = f"the value {number} means 'ignore', and every voxel counts here"
            raise UserError(what, where=where, next="Label these voxels, or leave the cases out.")
        if not str(number).isdigit():
            raise UserError(f"the label {name} has the value {number!r}, which is no whole number", where=where)
        labels[str(name)] = int(number)
    return labels


MODALITY_OF_WORD = {
    **dict.fromkeys(("ct", "cbct"), "CT"),
    **dict.fromkeys(("mr", "mri", "t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "flair", "adc", "dwi", "cine"), "MR"),
    **dict.fromkeys(("pet", "pt"), "PT"),
    **dict.fromkeys(("us", "ultrasound"), "US"),
    **dict.fromkeys(("xray", "dx", "cr"), "DX"),
    **dict.fromkeys(("picture", "microscopy", "em", "photo"), "picture"),
}


def modality_code(word: str) -> str:
    """DICOM's code for a word such as "MRI" or "T1w"; an unknown word stays as it is."""
    return MODALITY_OF_WORD.get("".join(c for c in word.lower() if c.isalnum()), word)


def described_modality(described: Mapping[str, object]) -> str:
    words = described.get("channel_names", described.get("modality"))
    values: Iterable[object] = words.values() if isinstance(words, dict) else [words] if isinstance(words, str) else []
    codes = sorted({modality_code(str(word)) for word in values})
    return codes[0] if len(codes) == 1 else ""
