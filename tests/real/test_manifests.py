"""Manifests, checks and scores of real data sets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.data.build_manifest import Built, Request, build_manifest
from pipeline.data.check import check_manifest
from pipeline.data.load import load_image, load_label
from pipeline.evaluation.counts import count
from pipeline.evaluation.scores import scores

ORGANS = {
    name: value
    for value, name in enumerate(
        ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible"), start=1
    )
}


def build(source: Path, **said: object) -> Built:
    return build_manifest(source, Request(**{"name": source.name, **said}))


def census(built: Built) -> list[tuple[str, int, int]]:
    report = check_manifest(built.manifest)
    assert report.ok, [str(p) for p in report.problems]
    return [(row.name, row.voxels, row.cases) for row in report.census]


def test_hippocampus_with_its_patients(shared):
    built = build(shared / "data/hippocampus_mr", patients=shared / "data/hippocampus_mr/patients.csv")
    assert [notice.code for notice in built.notices] == ["rows-ignored"]  # three cases lie in dicom/ instead
    assert census(built) == [("Anterior", 344_387, 200), ("Posterior", 317_978, 200)]
    assert len({case.patient_id for case in built.manifest.cases}) == 131
    assert {case.modality for case in built.manifest.cases} == {"MR"}
    sizes = Counter(case.fold for case in {c.patient_id: c for c in built.manifest.cases}.values())
    assert sorted(sizes.values()) == [26, 26, 26, 26, 27]


def test_membranes_as_pictures(shared):
    built = build(shared / "data/em_membrane", labels={"membrane": 0, "background": 255}, pixel_size_unknown=True)
    assert census(built) == [("membrane", 1_727_250, 30)]
    cell = build(shared / "data/em_membrane", labels={"cell": 255}, pixel_size_mm=4e-6)
    assert census(cell) == [("cell", 6_137_070, 30)]
    assert cell.manifest.cases[0].spacing_mm == pytest.approx((4e-6,) * 3)


def test_sarcoma_from_dicom_agrees_with_its_nifti_masks(shared):
    root = shared / "data/sarcoma"
    for masks in ("rtstruct", ""):
        built = build(root / "dicom", modality="MR", structures={"GTV_Mass*": 1}, labels={"tumour": 1}, masks=masks)
        assert [case.case for case in built.manifest.cases] == [f"STS_{n}" for n in ("002", "008", "015", "024", "025", "042")]
        for case in built.manifest.cases:
            image = load_image(built.manifest, case)
            label = load_label(built.manifest, case, image)
            truth = nibabel.load(root / f"nifti_truth/{case.case}_MR_T1_mask.nii.gz")
            assert truth.shape == label.shape
            order = nibabel.orientations.ornt_transform(
                nibabel.orientations.io_orientation(truth.affine), nibabel.orientations.io_orientation(label.affine)
            )
            turned = truth.as_reoriented(order)
            np.testing.assert_allclose(turned.affine, label.affine, atol=0.01)
            (score,) = scores(count(np.asarray(turned.dataobj), label.array, built.manifest.table))
            assert score.dice >= 0.98


def test_sarcoma_nifti(shared):
    built = build(shared / "data/sarcoma/nifti_2x", labels={"tumour": 1}, modality="MR")
    assert census(built) == [("tumour", 563_102, 16)]


def test_head_and_neck_from_nifti_and_dicom(shared):
    root = shared / "data/head_neck_ct"
    built = build(root, labels=ORGANS, modality="CT")
    voxels = (3_477, 3_975, 4_393, 4_636, 2_058, 3_025, 9_044)
    assert census(built) == list(zip(ORGANS, voxels, (7, 8, 8, 8, 7, 6, 8), strict=True))
    for masks in ("seg", "rtstruct"):
        dicom = build(root / "dicom", labels=ORGANS, folds=1, masks=masks)
        case = dicom.manifest.cases[0]
        assert (case.case, case.modality) == ("pt_22", "CT")
        assert [cases for _, _, cases in census(dicom)] == [1] * 7


def test_heart_phases_of_a_patient_stay_together(shared):
    built = build(
        shared / "data/cardiac_mr", labels={"LV": 1, "Myo": 2, "RV": 3}, patient_pattern=r"^(.*)_E[DS]$", modality="MR"
    )
    assert census(built) == [("LV", 32_951, 20), ("Myo", 34_909, 20), ("RV", 27_001, 20)]
    assert len({(case.patient_id, case.fold) for case in built.manifest.cases}) == 10


def test_brain_slices_with_empty_masks_are_warned_of(shared):
    root = shared / "data/brain_tumour"
    built = build(root, labels={"lesion": 255}, patients=root / "cases.csv", pixel_size_unknown=True, modality="MR")
    report = check_manifest(built.manifest)
    assert report.ok and Counter(p.code for p in report.problems) == {"mask-empty": 18}
    assert report.census[0].voxels == 104_281


def test_a_faulty_set_is_refused_for_its_faults(shared):
    """Labels of the abdomen differ between CT and MR: with one table both cannot be right, and the values are named."""
    built = build(shared / "data/abdomen", labels={"spleen": 1}, modality="CT", folds=2)
    report = check_manifest(built.manifest)
    assert not report.ok and {p.code for p in report.problems if p.severity == "error"} == {"label-undeclared"}
