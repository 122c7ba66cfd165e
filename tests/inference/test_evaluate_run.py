"""`unet evaluate RUN_FOLDER` against numbers counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_runs import ONE, make_run, some_case, thresholding

from pipeline.cli.main import main
from pipeline.data.manifest import Case
from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing
from pipeline.network.catalogue import build_network
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.run_folder import RunFolder

AFFINE = np.array([[0, -2.0, 0, 5], [1.0, 0, 0, -3], [0, 0, 4.0, 1], [0, 0, 0, 1]])
SHAPE = (12, 10, 6)


def write_case(root: Path, name: str, seed: int, fold: int) -> Case:
    random = np.random.default_rng(seed)
    (root / name).mkdir(parents=True)
    truth = random.integers(0, 2, SHAPE).astype(np.uint8)
    image = np.where(random.random(SHAPE) < 0.9, truth, 1 - truth).astype(np.int16)  # the network is wrong in one of ten
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), root / name / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(truth, AFFINE), root / name / "label.nii.gz")
    case = some_case(name=name, patient=f"P-{name}")
    fields = {key: getattr(case, key) for key in case.__dataclass_fields__}
    return Case(
        **{**fields, "fold": fold, "shape": SHAPE, "spacing_mm": (1.0, 2.0, 4.0), "label_sha256": (), "image_sha256": ()}
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    cases = [write_case(tmp_path / "data", f"case{seed}", seed, fold=seed % 2) for seed in range(4)]
    made = make_run(
        tmp_path / "run",
        table=ONE,
        network={"width": 4, "depth": 1, "padding": "valid"},
        preprocessing=Preprocessing(plane="coronal", normalisation=Normalisation(kind="none")),
        cases=cases,
        data_root=tmp_path / "data",
    )
    state = build_network("original", made.experiment().network_settings(ONE, 1)).state_dict()
    save_checkpoint({"epoch": 1, "network": thresholding(state, at=0.5, head="softmax")}, made.best)
    return made


def test_a_run_is_scored_as_counted_by_hand(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run.path), "-o", str(tmp_path / "scores")]) == 0
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    rows = {row["case"]: row for row in scores["rows"]}
    assert sorted(rows) == ["case0", "case2"]  # fold 0 alone
    for name, row in rows.items():
        image, truth = (
            np.asarray(nibabel.load(tmp_path / f"data/{name}/{kind}.nii.gz").dataobj) == 1 for kind in ("image", "label")
        )
        tp, fp, fn = int((image & truth).sum()), int((image & ~truth).sum()), int((~image & truth).sum())
        assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (tp, fp, fn, 720 - tp - fp - fn)
        assert row["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert row["volume_error_ml"] == pytest.approx((fp - fn) * 0.008)  # 1 x 2 x 4 mm3
    mean = sum(row["dice"] for row in rows.values()) / 2
    assert scores["structures"]["organ"]["dice"]["mean"] == pytest.approx(mean)
    assert f"{mean:.3f}" in capsys.readouterr().out
    assert (tmp_path / "scores/scores.csv").is_file()


def test_a_run_on_all_cases_has_none_left_to_score(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    run.note({"fold": None})
    assert main(["evaluate", str(run.path)]) == 2
    assert "the run trained on all cases: none is left to evaluate on" in capsys.readouterr().err


def test_a_run_that_never_began_cannot_be_scored(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    run.run_file.write_text('{"fold": 0, "finished": false}')
    assert main(["evaluate", str(run.path)]) == 2
    assert "stopped before its first epoch" in capsys.readouterr().err
