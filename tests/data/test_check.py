"""The check finds every fault that is put into a good data set, and nothing in the good one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_sets import AFFINE, SHAPE, save, write_pair, write_pictures
from PIL import Image

from pipeline.data import check as check_module
from pipeline.data.build_manifest import Request, build_manifest
from pipeline.data.check import CheckReport, check_manifest
from pipeline.data.check_text import report_text
from pipeline.data.manifest import Manifest, write_manifest


@pytest.fixture
def good(tmp_path: Path) -> Manifest:
    for name in ("p1", "p2", "p3", "p4"):
        write_pair(tmp_path / "set", name, values=(1, 2))
    request = Request(name="good", labels={"organ": 1, "lesion": 2}, modality="MR", folds=2)
    return build_manifest(tmp_path / "set", request).manifest


def found(report: CheckReport) -> set[tuple[str, str, str]]:
    return {(problem.severity, problem.code, problem.where) for problem in report.problems}


def rewritten(manifest: Manifest, kind: str, case: str, change) -> set[tuple[str, str, str]]:
    """Problems after a file was changed, the new hash being known: what is left is about the content."""
    path = manifest.data_root / kind / f"{case}.nii.gz"
    array = change(np.asarray(nibabel.load(path).dataobj).copy())
    save(path, array)
    cases = tuple(replace(c, image_sha256=(), label_sha256=()) for c in manifest.cases)
    return found(check_manifest(replace(manifest, cases=cases)))


def test_a_good_set_has_no_problem_and_a_census(good):
    report = check_manifest(good)
    assert report.ok and not report.problems
    organ = report.census[0]
    assert (organ.name, organ.voxels, organ.cases, organ.cases_in_fold) == ("organ", 32, 4, {0: 2, 1: 2})
    assert organ.ml == pytest.approx(32 * 6 / 1000)  # voxels of 1 x 2 x 3 mm


def test_a_missing_and_a_changed_file_are_found_together(good):
    (good.data_root / "imagesTr/p1.nii.gz").unlink()
    save(good.data_root / "labelsTr/p2.nii.gz", np.ones(SHAPE, np.uint8))
    report = check_manifest(good)
    assert {("error", "file-missing", "p1"), ("error", "file-changed", "p2")} <= found(report)
    assert not report.ok


def test_a_mask_moved_by_2_mm_is_found(good):
    path = good.data_root / "labelsTr/p3.nii.gz"
    moved = AFFINE.copy()
    moved[0, 3] = 2
    save(path, np.asarray(nibabel.load(path).dataobj), moved)
    problems = [p for p in check_manifest(good).problems if p.code == "grid-mismatch"]
    assert [p.where for p in problems] == ["p3"] and "2.00 mm" in problems[0].sentence


def test_undeclared_values_are_counted_and_named(good):
    def put_seven(mask: np.ndarray) -> np.ndarray:
        mask[0, 0, :3] = 7
        return mask

    path = good.data_root / "labelsTr/p1.nii.gz"
    save(path, put_seven(np.asarray(nibabel.load(path).dataobj).copy()))
    problem = next(p for p in check_manifest(good).problems if p.code == "label-undeclared")
    assert "7 (3 voxels)" in problem.sentence and "--labels ...,NAME=7" in problem.sentence


def test_fractional_labels_are_found(good):
    problems = rewritten(good, "labelsTr", "p1", lambda mask: mask.astype(np.float32) * 0.5)
    assert ("error", "label-fractional", "p1") in problems


def test_whole_numbers_in_floats_are_no_problem(good):
    assert not rewritten(good, "labelsTr", "p1", lambda mask: mask.astype(np.float32))


def test_an_empty_mask_is_a_warning(good):
    assert rewritten(good, "labelsTr", "p1", np.zeros_like) == {("warning", "mask-empty", "p1")}


def test_nan_and_infinity_are_found(good):
    def spoil(image: np.ndarray) -> np.ndarray:
        image = image.astype(np.float32)
        image[0, 0, 0], image[1, 1, 1] = np.nan, np.inf
        return image

    assert rewritten(good, "imagesTr", "p2", spoil) == {("error", "not-finite", "p2")}


def test_a_constant_image_is_found(good):
    assert rewritten(good, "imagesTr", "p2", np.zeros_like) == {("error", "image-constant", "p2")}


def test_the_same_pixels_under_two_names_in_two_folds_are_an_error(good):
    one, other = good.cases[0], next(c for c in good.cases if c.fold != good.cases[0].fold)
    image = np.asarray(nibabel.load(good.data_root / one.image[0]).dataobj)
    save(good.data_root / other.image[0], image.astype(np.int32))  # another type, other bytes, the same pixels
    problems = [p for p in check_manifest(good).problems if p.code == "identical-pixels"]
    assert [p.severity for p in problems] == ["error"]
    assert one.case in problems[0].sentence and other.case in problems[0].sentence and "different folds" in problems[0].sentence


def test_a_patient_in_two_folds_is_found(good):
    cases = tuple(replace(case, patient_id="same" if case.case in ("p1", "p2") else case.case) for case in good.cases)
    cases = tuple(replace(case, fold=position % 2) for position, case in enumerate(cases))
    assert ("error", "patient-in-two-folds", "same") in found(check_manifest(replace(good, cases=cases)))


def test_a_structure_absent_from_a_fold_is_a_warning_and_absent_everywhere_an_error(good):
    fold = good.cases[0].fold
    for case in good.cases:
        path = good.data_root / case.label[0]
        mask = np.asarray(nibabel.load(path).dataobj).copy()
        mask[mask == 2] = 0
        if case.fold == fold:
            mask[mask == 1] = 0
        save(path, mask)
    problems = found(check_manifest(good))
    assert {("warning", "structure-absent-from-fold", "organ"), ("error", "structure-never-occurs", "lesion")} <= problems


def test_an_image_of_another_size_than_stated_is_found(good):
    for kind in ("imagesTr", "labelsTr"):
        save(good.data_root / kind / "p1.nii.gz", np.eye(9, dtype=np.uint8)[:, :, None])
    assert {("error", "shape-changed", "p1"), ("error", "file-changed", "p1")} <= found(check_manifest(good))


def test_two_processes_find_the_same(good, monkeypatch):
    save(good.data_root / "labelsTr/p2.nii.gz", np.zeros(SHAPE, np.uint8))
    alone = check_manifest(good)
    monkeypatch.setattr(check_module, "WORTH_WORKERS_BYTES", 0)
    assert check_manifest(good) == alone


def test_pictures_without_millimetres_have_no_volume(tmp_path):
    write_pictures(tmp_path, 2)
    request = Request(name="cells", labels={"cell": 255}, pixel_size_unknown=True, folds=2)
    report = check_manifest(build_manifest(tmp_path, request).manifest)
    assert report.ok and report.census[0].ml is None and report.census[0].voxels == 2 * 200
    assert "n/a" in report_text(report)


def test_the_command_prints_writes_and_answers_by_exit_code(good, tmp_path, unet):
    write_manifest(good, tmp_path / "good.json")
    fine = unet("check", tmp_path / "good.json", "--json", tmp_path / "r.json", "--picture", tmp_path / "sheet.png")
    assert fine.returncode == 0, fine.stderr
    assert "0 errors, 0 warnings" in fine.stdout
    assert json.loads((tmp_path / "r.json").read_text())["census"][1] == {
        **{"value": 2, "name": "lesion", "voxels": 32, "cases": 4, "ml": pytest.approx(0.192)},
        "cases_in_fold": {"0": 2, "1": 2},
    }
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 300
    (good.data_root / "imagesTr/p1.nii.gz").unlink()
    bad = unet("check", tmp_path / "good.json")
    assert bad.returncode == 2 and "error: file-missing (1)" in bad.stdout


def test_the_contact_sheet_shows_masks_in_colour_and_unreadable_cases_in_red(good, tmp_path):
    from pipeline.report.contact_sheet import WRONG, write_contact_sheet

    (good.data_root / "imagesTr/p1.nii.gz").unlink()
    assert write_contact_sheet(good, tmp_path / "sheet.png") == 4
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour for _, colour in sheet.getcolors(2**24)}
    assert WRONG in colours
    assert {structure.colour for structure in good.table.structures} <= colours
