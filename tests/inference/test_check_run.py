"""Before a run becomes a bundle: bf16 against fp32, and whether the air around the body can be left out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from made_runs import make_run, some_case

from pipeline.bundle.bundle import open_bundle
from pipeline.cli.main import main
from pipeline.data.manifest import Case
from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing
from pipeline.inference.check_run import check_run
from pipeline.inference.predictor import Predictor
from pipeline.labels import label_table
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.run_folder import RunFolder

AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


def cases(folder: Path, count: int = 3, *, outside_hu: int = -1000, body_hu: int = 40) -> tuple[Case, ...]:
    """CTs of a block of body in air, in which a block of 300 HU is the structure; fold 0 is the validation."""
    made = []
    for number in range(count):
        image = np.random.default_rng(number).normal(-1000, 20, (90, 80, 6)).astype(np.int16)
        image[30:70, 30:60, 1:5] = body_hu
        label = np.zeros(image.shape, dtype=np.uint8)
        label[40:50, 40:50, 2:4] = 1
        image[label > 0] = 300
        image[3:5, 3:5, :] = outside_hu
        name = f"case{number}"
        (folder / name).mkdir(parents=True)
        for part, array in (("image", image), ("label", label)):
            nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / name / f"{part}.nii.gz")
        made.append(replace(some_case(name=name, patient=name), fold=number % 2, shape=image.shape))
    return tuple(made)


def run_above(folder: Path, at_hu: float, some: tuple[Case, ...], *, fold: int | None = 0) -> RunFolder:
    """A run whose network finds what is above so many HU."""
    run = make_run(
        folder / "run",
        table=label_table({"organ": 1}),
        network={"width": 4, "depth": 1, "padding": "same"},
        preprocessing=Preprocessing(normalisation=Normalisation(kind="none")),
        cases=some,
        data_root=folder / "data",
        facts={"fold": fold},
    )
    state = load_checkpoint(run.best)
    weights = {name: torch.zeros_like(tensor) for name, tensor in state["network"].items()}
    for layer in ("encoders.0.0", "encoders.0.2"):  # the image shifted to be positive, through the first channel
        weights[f"{layer}.weight"][0, 0, 1, 1] = 1
    weights["encoders.0.0.bias"][0] = 2000
    weights["decoders.0.0.weight"][0, 0, 1, 1] = 1  # of the skip
    weights["decoders.0.2.weight"][0, 0, 1, 1] = 1
    weights["scores.weight"][1, 0] = 1
    weights["scores.bias"][1] = -2000 - at_hu
    save_checkpoint({**state, "network": weights}, run.best)
    return run


def test_a_structure_inside_the_body_lets_the_air_be_left_out(tmp_path, capsys):
    run = run_above(tmp_path, 200, cases(tmp_path / "data"))
    checks = check_run(run.path)
    assert (checks.cases, checks.unseen, checks.outside_body, checks.body_box) == (2, True, 0, True)
    assert checks.differences["bf16"].agreement == 1
    assert checks.differences["bf16"].dice == {"organ": (1.0, 1.0)}
    assert main(["bundle", "build", str(run.path), "-o", str(tmp_path / "bundle")]) == 0
    assert "checked   Nothing was found outside the body" in capsys.readouterr().out
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.recipe.body_box
    card = (bundle.path / "docs" / "README.md").read_text()
    assert "bf16 against fp32: 100.0000 % of voxels" in card and "organ +0.00000" in card
    assert "case0" not in card


def test_something_outside_the_body_keeps_the_whole_scan(tmp_path, capsys):
    run = run_above(tmp_path, 200, cases(tmp_path / "data", outside_hu=400))
    checks = check_run(run.path)
    assert checks.outside_body == 2 * 2 * 2 * 6
    assert main(["bundle", "build", str(run.path), "-o", str(tmp_path / "bundle")]) == 0
    assert "checked   48 voxels were found outside the body" in capsys.readouterr().out
    assert not open_bundle(tmp_path / "bundle").recipe.body_box


def test_rounding_to_bfloat16_is_counted(tmp_path):
    """43 HU are 2043 in the network, above the limit of 2042; bfloat16 knows 2040 and 2048, so both become 2040."""
    run = run_above(tmp_path, 42, cases(tmp_path / "data", body_hu=43))
    checks = check_run(run.path)
    assert checks.differences["bf16"].agreement < 1
    exact, rounded = checks.differences["bf16"].dice["organ"]
    assert exact is not None and exact < 0.5  # the whole body is taken for the structure
    assert rounded == 1.0


def test_eight_bits_are_prepared_compared_and_only_then_offered(tmp_path, capsys):
    run = run_above(tmp_path, 200, cases(tmp_path / "data"))
    words = ["bundle", "build", str(run.path), "-o", str(tmp_path / "bundle")]
    assert main([*words, "--int8"]) == 0
    assert "checked   int8 against fp32: 100.0000 % of voxels get the same label" in capsys.readouterr().out
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert "int8 against fp32: 100.0000 %" in card and "organ +0.00000" in card
    scan = tmp_path / "data" / "case0" / "image.nii.gz"
    predict = ["predict", str(tmp_path / "bundle"), str(scan), "--precision", "int8", "-o", str(tmp_path / "out")]
    assert main(predict) == 0
    said = json.loads((tmp_path / "out" / "image" / "mask.json").read_text())
    assert (said["provenance"]["runtime"], said["provenance"]["precision"]) == ("openvino", "int8")
    found = np.asarray(nibabel.load(tmp_path / "out" / "image" / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(found, np.asarray(nibabel.load(scan.with_name("label.nii.gz")).dataobj))
    assert Predictor.from_bundle(tmp_path / "bundle").choice.precision != "int8"  # only for whoever asks


def test_rounding_to_eight_bits_is_counted(tmp_path):
    """50 HU are 2050 in the network, above the limit of 2049; of the 256 steps up to 2300, the nearest is 2047."""
    run = run_above(tmp_path, 49, cases(tmp_path / "data", body_hu=50))
    checks = check_run(run.path, int8=True)
    assert set(checks.differences) == {"bf16", "int8"}
    assert checks.differences["int8"].agreement < 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--int8", "--no-check"], "--no-check: what int8 loses is measured on the run's cases"), (["--int8"], "image.nii.gz")],
)
def test_eight_bits_that_cannot_be_compared_are_refused(words, reason, tmp_path, capsys):
    run = run_above(tmp_path, 200, cases(tmp_path / "data"))
    shutil.rmtree(tmp_path / "data")
    assert main(["bundle", "build", str(run.path), "-o", str(tmp_path / "bundle"), *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert reason in line
    assert not (tmp_path / "bundle").exists()


def test_a_run_without_validation_is_checked_on_its_training(tmp_path):
    run = run_above(tmp_path, 200, cases(tmp_path / "data", 7), fold=None)
    checks = check_run(run.path)
    assert (checks.cases, checks.unseen) == (5, False)
    assert "of the training: no others were kept apart" in str(checks)


def test_a_bundle_can_be_built_where_the_scans_are_not(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    assert main(["bundle", "build", str(run.path), "-o", str(tmp_path / "bundle")]) == 0
    assert "not compared on the run's cases" in capsys.readouterr().err
    assert not open_bundle(tmp_path / "bundle").recipe.body_box
    assert "was not checked" in (tmp_path / "bundle" / "docs" / "README.md").read_text()


@pytest.mark.parametrize("words", [["--no-check"], []])
def test_what_is_refused_is_refused_before_anything_is_compared(words, tmp_path, capsys):
    run = run_above(tmp_path, 200, cases(tmp_path / "data"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.doc").write_text("")
    assert main(["bundle", "build", str(run.path), "-o", str(tmp_path / "taken"), *words]) == 2
    said = capsys.readouterr()
    assert "checked" not in said.out
    assert len(said.err.strip().splitlines()) == 1
