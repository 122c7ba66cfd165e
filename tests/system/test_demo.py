"""`unet demo`: the whole chain, by its own commands, with the scores that it promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import pytest


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "pipeline", "demo"]
    return folder / "demo", subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000)


def test_the_demo_ends_well_with_a_line_a_stage(demo):
    _, done = demo
    assert done.returncode == 0, done.stderr
    for stage in ("data", "manifest", "check", "train", "bundle", "predict", "evaluate"):
        assert re.search(rf"^{stage} ", done.stderr, flags=re.MULTILINE), stage


def test_both_structures_reach_their_dice_on_the_held_out_series(demo):
    folder, done = demo
    scores = json.loads((folder / "scores" / "scores.json").read_text(encoding="utf-8"))["structures"]
    assert scores["organ"]["dice"]["mean"] >= 0.90
    assert scores["lesion"]["dice"]["mean"] >= 0.75
    assert scores["lesion"]["dice"]["count"] == 3
    assert f"Dice organ       {scores['organ']['dice']['mean']:.3f}" in done.stdout


def test_each_held_out_series_has_a_mask_on_its_own_grid(demo):
    folder, _ = demo
    masks = sorted(folder.glob("predictions/*/mask.nii.gz"))
    truths = [nibabel.load(path) for path in sorted(folder.glob("data/held_out_truth/*.nii.gz"))]
    assert len(masks) == len(truths) == 3
    for mask in map(nibabel.load, masks):
        assert any(sorted(mask.shape) == sorted(truth.shape) for truth in truths)
        assert mask.get_data_dtype() == "uint8"


def test_the_page_is_one_file_with_pictures_curves_scores_and_commands(demo):
    folder, _ = demo
    text = (folder / "demo.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 4  # three overlays and the contact sheet
    assert text.count("<svg") >= 2
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    for words in ("unet manifest", "unet check", "unet train", "unet bundle build", "unet predict", "unet evaluate", "lesion"):
        assert words in text


def test_nothing_of_a_patient_is_in_a_name_of_the_outputs(demo):
    folder, _ = demo
    assert not [path for path in (folder / "predictions").rglob("*") if "patient" in path.name]


def test_a_folder_in_use_is_not_touched(demo, unet):
    folder, _ = demo
    before = sorted(folder.rglob("*"))
    again = unet("demo", "-o", folder)
    assert again.returncode == 2
    assert "holds something already" in again.stderr
    assert sorted(folder.rglob("*")) == before


def test_data_without_masks_are_refused_in_one_line(tmp_path, unet):
    (tmp_path / "empty").mkdir()
    done = unet("demo", "--data", tmp_path / "empty", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "'unet manifest' failed" in done.stderr.splitlines()[-1]
