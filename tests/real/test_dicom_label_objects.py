"""Real RTSTRUCT and SEG objects against masks that another program made from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.io.dicom.find import find_series
from pipeline.io.read import read_label_volume, read_volume
from pipeline.labels import label_table

ORGANS = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_sarcoma_structures_equal_their_masks(shared: Path) -> None:
    folder, table, scores = shared / "data" / "sarcoma", label_table({"tumour": 1}), []
    for series in sorted((folder / "dicom").glob("STS_*/*")):
        image = read_volume(series / "image")
        truth = read_label_volume(
            folder / "nifti_truth" / f"{series.parent.name}_{series.name}_mask.nii.gz", like=image, table=table
        )
        for kind in ("rtstruct", "seg"):
            if (series / kind).is_dir():
                mask = read_label_volume(series / kind, like=image, table=table, structures={"gtv_*": 1})
                scores.append(dice(mask.array == 1, truth.array == 1))
    assert len(scores) == 10
    assert min(scores) >= 0.999


@pytest.mark.parametrize("kind", ["rtstruct", "seg"])
def test_seven_organs_of_a_head_and_neck_ct(kind: str, shared: Path) -> None:
    folder = shared / "data" / "head_neck_ct"
    table = label_table({name: k for k, name in enumerate(ORGANS, start=1)})
    image = read_volume(folder / "dicom" / "pt_22" / "image")
    truth = read_label_volume(folder / "dicom_truth" / "pt_22.nii.gz", like=image, table=table)
    mask = read_label_volume(folder / "dicom" / "pt_22" / kind, like=image, table=table)
    for value in table.values:
        assert dice(mask.array == value, truth.array == value) >= 0.999


def test_each_label_object_is_listed_with_its_own_series(shared: Path) -> None:
    found = find_series(shared / "data" / "sarcoma" / "dicom")
    assert len(found) == 7 and len({s.patient for s in found}) == 6
    for series in found:
        assert all(label.path.parent.parent == series.folder.parent for label in series.label_objects)
    assert sum(len(s.label_objects) for s in found) == 10


def test_the_structures_of_the_mr_are_refused_on_the_ct(shared: Path) -> None:
    patient = shared / "data" / "sarcoma" / "dicom" / "STS_002"
    with pytest.raises(UserError, match="belongs to the series"):
        read_label_volume(
            patient / "MR_T1" / "rtstruct", like=read_volume(patient / "CT" / "image"), table=label_table({"t": 1})
        )
