"""Look at one case of a manifest: files, hashes, grids, voxels. Knows nothing of the other cases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..errors import UserError
from ..io.volume import Volume
from ..labels import LabelTable
from .census import value_counts, values_text
from .hashing import sha256_of
from .load import load_image, load_label
from .manifest import Case, Manifest

SAME_SPACING_FRACTION = 1e-3  # a manifest keeps six decimals
Finding = tuple[Literal["error", "warning"], str, str]  # severity, code, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """What one case is like; plain enough to travel between processes."""

    case: str
    problems: tuple[Finding, ...]
    voxels: Mapping[int, int] = field(default_factory=dict)  # value of a structure → voxels, where it occurs
    voxel_ml: float = 0.0
    pixels_sha256: str = ""  # of the image's values; "" where it could not be read
    mask_sha256: str = ""


def check_case(manifest: Manifest, case: Case) -> CaseReport:
    """Everything that can be wrong with one case; never raises because of the data."""
    problems = _files(manifest, case)
    if any(code == "file-missing" for _, code, _ in problems):
        return CaseReport(case=case.case, problems=tuple(problems))
    try:
        image = load_image(manifest, case)
    except UserError as error:
        problems.append(("error", "image-unreadable", str(error)))
        return CaseReport(case=case.case, problems=tuple(problems))
    problems += [*_image(image, case), *_told(image)]
    pixels = _digest(image.array)
    try:
        mask = load_label(manifest, case, image)
    except UserError as error:
        problems.append(("error", _code_of(error), str(error)))
        return CaseReport(case=case.case, problems=tuple(problems), pixels_sha256=pixels)
    voxels, strange = _mask(mask, manifest.table)
    return CaseReport(
        case=case.case,
        problems=(*problems, *strange, *_told(mask)),
        voxels=voxels,
        voxel_ml=image.voxel_ml,
        pixels_sha256=pixels,
        mask_sha256=_digest(mask.array),
    )


def _files(manifest: Manifest, case: Case) -> list[Finding]:
    found: list[Finding] = []
    for files, digests in ((case.image, case.image_sha256), (case.label, case.label_sha256)):
        for position, name in enumerate(files):
            path = manifest.data_root / name
            if not path.exists():
                found.append(("error", "file-missing", f"{name} is not in {manifest.data_root}"))
            elif position < len(digests) and sha256_of(path) != digests[position]:
                sentence = f"{name} has changed since the manifest was made (sha256): make the manifest again"
                found.append(("error", "file-changed", sentence))
    return found


def _image(image: Volume, case: Case) -> list[Finding]:
    found: list[Finding] = []
    if image.shape != case.shape:
        found.append(("error", "shape-changed", f"the image is {image.shape}, the manifest says {case.shape}"))
    if not np.allclose(image.spacing_mm, case.spacing_mm, rtol=SAME_SPACING_FRACTION):
        found.append(("error", "spacing-changed", f"the spacing is {image.spacing_mm} mm, the manifest says {case.spacing_mm}"))
    if image.array.dtype.kind == "f":
        nans, infinite = int(np.isnan(image.array).sum()), int(np.isinf(image.array).sum())
        if nans or infinite:
            found.append(("error", "not-finite", f"the image holds {nans} NaN and {infinite} infinite values"))
    if image.array.min() == image.array.max():
        found.append(("error", "image-constant", f"every voxel of the image is {image.array.flat[0]:g}"))
    return found


def _told(volume: Volume) -> list[Finding]:
    """What the reader had to say about the file."""
    return [("warning", notice.code, str(notice)) for notice in volume.source.notices]


def _mask(mask: Volume, table: LabelTable) -> tuple[dict[int, int], list[Finding]]:
    """Voxels of each structure that occurs, and what is wrong with the values."""
    if table.overlapping:
        sums = mask.array.reshape(-1, mask.array.shape[-1]).sum(axis=0, dtype=np.int64)
        voxels = {value: int(n) for value, n in zip(table.values, sums, strict=True) if n}
        strange: dict[float, int] = {}
    else:
        counts = value_counts(mask.array)
        voxels = {value: counts[value] for value in table.values if value in counts}
        strange = {value: n for value, n in counts.items() if value not in {table.background, *table.values}}
    found: list[Finding] = []
    if strange:
        whole = [int(value) for value in strange if value == int(value) and 0 <= value <= 255]
        more = f": name them with --labels ...,{','.join(f'NAME={value}' for value in whole)}" if whole else ""
        found.append(("error", "label-undeclared", f"values that the label table does not name: {values_text(strange)}{more}"))
    if not voxels:
        found.append(("warning", "mask-empty", "the mask holds none of the structures"))
    return voxels, found


def _code_of(error: UserError) -> str:
    """The grid and the values are what a mask is most often refused for; a reader's words say which."""
    if "grid" in error.what:
        return "grid-mismatch"
    return "label-fractional" if "fractions" in error.what else "mask-unreadable"


def _digest(array: np.ndarray) -> str:
    """sha256 of the values, whatever file and type they came in."""
    values = np.ascontiguousarray(array)
    if (
        values.dtype.kind in "iu"
        and values.size
        and np.iinfo(np.int32).min <= values.min() <= values.max() <= np.iinfo(np.int32).max
    ):
        values = values.astype(np.int32)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
