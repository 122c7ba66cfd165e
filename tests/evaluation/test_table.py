"""The table of an evaluation."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.table import CaseMasks, EvaluationTable
from pipeline.evaluation.table_text import table_text
from pipeline.labels import label_table

TABLE = label_table({"organ": 1, "lesion": 2})
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])  # a voxel is 0.02 ml


def masks(case: str, patient: str, truth_voxels: int, hit: int, *, affine: np.ndarray | None = AFFINE) -> CaseMasks:
    """`truth_voxels` voxels of organ, of which the prediction finds `hit`; no lesion anywhere."""
    truth, predicted = np.zeros((2, 10, 10, 2), dtype=np.uint8)
    truth.flat[:truth_voxels] = 1
    predicted.flat[:hit] = 1
    return CaseMasks(case, patient, truth, predicted, affine)


@pytest.fixture
def evaluation() -> EvaluationTable:
    return EvaluationTable.from_cases([masks("a", "P1", 50, 25), masks("b", "P1", 50, 50), masks("c", "P2", 0, 50)], TABLE)


def test_volumes_are_in_millilitres_of_the_affine(evaluation):
    row = evaluation.rows[0]
    assert (row.truth_ml, row.predicted_ml, row.volume_error_ml) == (
        pytest.approx(1.0),
        pytest.approx(0.5),
        pytest.approx(-0.5),
    )


def test_the_summary_says_how_many_it_is_a_mean_of(evaluation):
    organ = evaluation.summary()["organ"]
    assert organ["dice"].value == pytest.approx((2 * 25 / 75 + 1 + 0) / 3)
    assert (organ["dice"].count, organ["hd95_mm"].count, organ["hd95_mm"].left_out) == (3, 2, 1)
    assert evaluation.summary()["lesion"]["dice"].value is None


def test_the_mean_over_structures_leaves_out_what_occurs_nowhere(evaluation):
    assert evaluation.mean_dice().count == 1
    assert "dice/lesion" not in evaluation.metrics()
    assert evaluation.metrics()["dice/mean"] == evaluation.metrics()["dice/organ"]


def test_without_millimetres_there_are_no_distances_and_no_volumes():
    row = EvaluationTable.from_cases([masks("a", "a", 50, 25, affine=None)], TABLE).rows[0]
    assert row.measures()["hd95_mm"] is row.measures()["nsd"] is row.volume_error_ml is None
    assert row.scores.recall == 0.5


def test_files_hold_every_row_and_nothing_half_written(evaluation, tmp_path):
    evaluation.write(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["scores.csv", "scores.json"]
    with (tmp_path / "out/scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["structure"]) for r in rows][:2] == [("a", "organ"), ("a", "lesion")]
    assert (rows[0]["tp"], rows[1]["dice"]) == ("25", "")
    data = json.loads((tmp_path / "out/scores.json").read_text())
    assert data["structures"]["organ"]["dice"]["count"] == 3
    assert data["rows"][1]["dice"] is None


def test_the_text_prints_means_with_their_number_and_not_applicable(evaluation):
    text = table_text(evaluation)
    assert "3 cases of 2 patients" in text and "NSD forgives 2 mm" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line[:5] in ("organ", "lesio")}
    assert lines["organ"][1:4] == ["3", "0", "0.556"]
    assert "(2)" in lines["organ"]  # HD95 is a mean of two: a missed structure has no distance
    assert lines["lesion"] == ["lesion", "0", "3", *["n/a"] * 9]


def test_a_long_table_is_cut_to_the_worst_cases():
    many = EvaluationTable.from_cases([masks(f"case{i}", f"P{i}", 50, i + 1) for i in range(30)], TABLE)
    text = table_text(many)
    assert "scores.csv" in text and "case0 " in text and "case29" not in text


def test_a_strange_value_is_refused_with_the_name_of_its_case():
    item = masks("a", "a", 5, 5)
    item.predicted.flat[0] = 9
    with pytest.raises(UserError, match=r"a: prediction: .*9 "):
        EvaluationTable.from_cases([item], TABLE)


def test_overlapping_structures_get_their_own_surfaces():
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    truth = np.zeros((8, 8, 8, 2), dtype=np.uint8)
    truth[1:7, 1:7, 1:7, 0] = truth[3:5, 3:5, 3:5, 1] = 1
    predicted = np.roll(truth, 1, axis=0)
    rows = EvaluationTable.from_cases([("a", "a", truth, predicted, np.eye(4))], table).rows
    assert [row.surface.hd95_mm for row in rows] == [pytest.approx(1.0), pytest.approx(1.0)]
    assert rows[1].truth_ml == pytest.approx(0.008)
