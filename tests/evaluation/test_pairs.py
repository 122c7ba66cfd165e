"""Any tool's masks are paired by name, put on one grid in mm, and scored; or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.evaluation.pairs import evaluate_pairs, find_pairs, table_of_truth
from pipeline.labels import label_table

AFFINE = np.array([[1.0, 0, 0, -10], [0, 2, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1]])
TABLE = label_table({"organ": 1})


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def lopsided() -> np.ndarray:
    mask = np.zeros((9, 8, 7), dtype=np.uint8)
    mask[1:5, 2:4, 3:6] = 1
    return mask


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    save(tmp_path / "truth/a.nii.gz", lopsided())
    save(tmp_path / "truth/b_mask.nii.gz", lopsided())
    save(tmp_path / "out/a.nii", lopsided())
    save(tmp_path / "out/b/mask.nii.gz", np.roll(lopsided(), 1, axis=0))
    return tmp_path / "out", tmp_path / "truth"


def test_names_pair_whatever_their_ending_and_layout(folders):
    pairs, notices = find_pairs(*folders)
    assert [pair.case for pair in pairs] == ["a", "b"] and not notices
    rows = evaluate_pairs(pairs, TABLE).rows
    assert rows[0].scores.dice == 1.0
    assert (rows[1].tp, rows[1].fp, rows[1].fn) == (18, 6, 6)
    assert rows[1].surface.hd95_mm == pytest.approx(1.0)


def test_masks_without_a_partner_are_named(folders):
    save(folders[0] / "c.nii.gz", lopsided())
    save(folders[1] / "d.nii.gz", lopsided())
    _, notices = find_pairs(*folders)
    assert {(notice.code, notice.sentence[-1]) for notice in notices} == {
        ("prediction-without-truth", "c"),
        ("truth-without-prediction", "d"),
    }


def test_nothing_that_pairs_is_an_error(tmp_path):
    save(tmp_path / "out/x.nii.gz", lopsided())
    save(tmp_path / "truth/y.nii.gz", lopsided())
    with pytest.raises(UserError, match=r"x against y.*--pairs CSV"):
        find_pairs(tmp_path / "out", tmp_path / "truth")


def test_a_turned_grid_is_turned_back_not_compared_by_index(folders):
    turned = lopsided()[::-1].transpose(2, 0, 1)
    voxel_from_turned = np.array([[0, -1, 0, 8], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    save(folders[0] / "a.nii", turned, AFFINE @ voxel_from_turned)
    pairs, _ = find_pairs(*folders)
    assert evaluate_pairs(pairs[:1], TABLE).rows[0].scores.dice == 1.0


def test_a_grid_moved_by_3_mm_is_refused_with_its_name(folders):
    moved = AFFINE.copy()
    moved[2, 3] += 3
    save(folders[0] / "a.nii", lopsided(), moved)
    with pytest.raises(UserError, match=r"1 of 2 pairs cannot be compared: a: .*3\.00 mm"):
        evaluate_pairs(find_pairs(*folders)[0], TABLE)


def test_two_masks_of_one_name_are_refused(folders):
    save(folders[0] / "a_seg.nii.gz", lopsided())
    with pytest.raises(UserError, match="both are masks of a"):
        find_pairs(*folders)


def test_pairs_by_hand_with_patients(folders, tmp_path):
    (tmp_path / "pairs.csv").write_text("prediction,truth,case,patient_id\nb,a.nii.gz,odd,P1\na.nii,b_mask.nii.gz,even,P1\n")
    pairs, _ = find_pairs(*folders, table=tmp_path / "pairs.csv")
    assert [(p.case, p.predicted.name, p.patient_id) for p in pairs] == [("odd", "mask.nii.gz", "P1"), ("even", "a.nii", "P1")]


def test_the_table_is_made_of_the_values_in_the_truth(folders):
    save(folders[1] / "a.nii.gz", lopsided() * 3)
    assert table_of_truth(find_pairs(*folders)[0]).names == ("label 1", "label 3")


def test_pictures_are_scored_in_millimetres_only_where_their_pixel_size_is_stated(tmp_path):
    for name in ("out", "truth"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.pad(np.full((6, 6), 255, np.uint8), 4)).save(tmp_path / name / "x.png")
    pairs, _ = find_pairs(tmp_path / "out", tmp_path / "truth")
    table = label_table({"cell": 255})
    assert evaluate_pairs(pairs, table).rows[0].truth_ml is None
    assert evaluate_pairs(pairs, table, pixel_size_mm=0.5).rows[0].truth_ml == pytest.approx(36 * 0.125 / 1000)


def test_the_command_scores_two_folders(folders, tmp_path, unet):
    answer = unet("evaluate", "--predictions", folders[0], "--truth", folders[1], "--labels", "organ=1", "-o", tmp_path / "s")
    assert answer.returncode == 0, answer.stderr
    assert "2 cases of 2 patients" in answer.stdout and "organ" in answer.stdout
    scores = json.loads((tmp_path / "s/scores.json").read_text())
    assert scores["structures"]["organ"]["dice"]["mean"] == pytest.approx((1 + 0.75) / 2)
    assert (tmp_path / "s/scores.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predictions", "x"], "name a run folder, or --predictions DIR and --truth DIR"),
        (["run", "--labels", "a=1"], "--labels"),
    ],
)
def test_the_command_answers_what_does_not_go_together_in_one_line(words, message, unet):
    answer = unet("evaluate", *words)
    assert answer.returncode == 2 and message in answer.stderr and answer.stderr.count("\n") == 1
