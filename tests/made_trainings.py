"""Small labelled scans on disk, and settings with which a training on them takes a second or two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np

from pipeline.data.hashing import sha256_of
from pipeline.data.manifest import Case, Manifest, write_manifest
from pipeline.labels import LabelTable, label_table

SHAPE, SPACING_MM = (40, 36, 6), (1.0, 1.2, 4.0)
AFFINE = np.diag([*SPACING_MM, 1.0])
MULTI = label_table({"organ": 1, "lesion": 4})
BINARY = label_table({"organ": 1})
OVERLAPPING = label_table({"organ": 1, "lesion": 2}, overlapping=True)

TINY: Mapping[str, object] = {
    "network.width": 2,
    "network.depth": 2,
    "network.padding": "same",
    "network.normalization": "batch",
    "network.dropout": 0.3,
    "preprocessing.normalisation.kind": "zscore",
    "preprocessing.spacing_mm": 0.0,
    "preprocessing.neighbours": 0,
    "schedule": "poly",
    "patch": [32, 32],
    "batch_size": 2,
    "steps_per_epoch": 4,
    "epochs": 2,
    "learning_rate": 1e-3,
    "precision": "fp32",
    "workers": 0,
    "threads": 1,
}
VALID: Mapping[str, object] = {**TINY, "network.padding": "valid", "patch": [76, 76]}  # 36 px of output, 20 of border


def set_words(settings: Mapping[str, object]) -> list[str]:
    """The settings as a user types them."""
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def write_set(
    folder: Path,
    table: LabelTable = MULTI,
    *,
    patients: int = 4,
    channels: int = 1,
    without_lesion: tuple[int, ...] = (2,),
    modality: str = "MR",
) -> Path:
    """A manifest of one case a patient, in two folds; a bright organ with a brighter lesion in it. Returns: its path."""
    cases = [_write_case(folder, number, table, channels, number not in without_lesion, modality) for number in range(patients)]
    manifest = Manifest(name="made", data_root=folder, table=table, cases=tuple(cases))
    write_manifest(manifest, folder / "made.json")
    return folder / "made.json"


def _write_case(folder: Path, number: int, table: LabelTable, channels: int, with_lesion: bool, modality: str) -> Case:
    random = np.random.default_rng(number)
    column, row, _ = np.indices(SHAPE)
    centre = random.uniform(16, 22, 2)
    organ = (column - centre[0]) ** 2 + (row - centre[1]) ** 2 < random.uniform(9, 12) ** 2
    lesion = (column - centre[0] + 3) ** 2 + (row - centre[1]) ** 2 < 4**2
    lesion &= with_lesion
    image = 100.0 + 200 * organ + 300 * lesion + random.normal(0, 20, SHAPE)
    if channels > 1:
        image = np.stack([image, *(random.normal(0, 1, (channels - 1, *SHAPE)))], axis=-1)
    if table.overlapping:
        labels = np.stack([organ, lesion], axis=-1).astype(np.uint8)
    else:
        labels = organ.astype(np.uint8) * table.values[0]
        if len(table.values) > 1:
            labels[lesion] = table.values[1]
    names = [f"image_{number}.nii.gz", f"label_{number}.nii.gz"]
    folder.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image.astype(np.int16), AFFINE), folder / names[0])
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), folder / names[1])
    return Case(
        case=f"case_{number}",
        image=(names[0],),
        label=(names[1],),
        patient_id=f"patient_{number}",
        fold=number % 2,
        image_sha256=(sha256_of(folder / names[0]),),
        label_sha256=(sha256_of(folder / names[1]),),
        shape=SHAPE,
        spacing_mm=SPACING_MM,
        modality=modality,
    )
