"""What a bundle does after its network: post-processing on the scan's own grid, mirror images for whoever asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_bundle, make_run, thresholding_bundle, write_chosen
from PIL import Image

from pipeline.bundle.build import build_bundle
from pipeline.bundle.bundle import open_bundle
from pipeline.bundle.recipe import recipe_from_json
from pipeline.cli.main import main
from pipeline.data.augmentation import Augmentation
from pipeline.data.postprocess import Steps
from pipeline.errors import UserError
from pipeline.inference.predictor import Predictor
from pipeline.io.volume import Volume
from pipeline.labels import label_table

UP = np.diag([-1.0, -1.0, 3.0, 1.0])  # 0.003 ml a voxel
MIRRORED = Augmentation(flips=("columns",))


def scan() -> np.ndarray:
    """A block of 4 x 4 x 4 with a hole of one voxel, a piece of 3 voxels, one of 2."""
    image = np.zeros((9, 8, 6), dtype=np.int16)
    image[1:5, 1:5, 1:5] = 1
    image[2, 2, 2] = 0
    image[7, 2:5, 3] = 1
    image[7:9, 7, 0] = 1
    return image


EXPECTED = {
    "nothing": (Steps(), lambda mask: None),
    "largest": (Steps(largest=True), lambda mask: mask[6:].fill(0)),
    "0.008 ml": (Steps(smallest_ml=0.008), lambda mask: mask[7:, 7].fill(0)),  # 2 voxels have 0.006, 3 have 0.009
    "holes": (Steps(holes=True), lambda mask: mask.__setitem__((2, 2, 2), 1)),
}


@pytest.mark.parametrize("plane", ["axial", "coronal"])
@pytest.mark.parametrize("name", EXPECTED)
def test_the_steps_of_a_bundle_are_taken_on_the_scan_s_own_voxels(name: str, plane: str, tmp_path: Path) -> None:
    steps, by_hand = EXPECTED[name]
    bundle = thresholding_bundle(tmp_path, plane=plane, postprocessing={"organ": steps})
    wanted = scan().astype(np.uint8)
    by_hand(wanted)
    np.testing.assert_array_equal(Predictor(bundle).predict(Volume(array=scan(), affine=UP)).labels.array, wanted)


def test_overlapping_structures_are_treated_each_on_its_own_channel(tmp_path: Path) -> None:
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    steps = {"core": Steps(largest=True)}
    bundle = thresholding_bundle(tmp_path, table=table, head="sigmoid", postprocessing=steps)
    image = 2 * scan()
    found = Predictor(bundle).predict(Volume(array=image, affine=UP)).labels.array
    np.testing.assert_array_equal(found[..., 0], image > 0)
    np.testing.assert_array_equal(found[:6, ..., 1], image[:6] > 0)
    assert not found[6:, ..., 1].any()


def test_a_size_in_ml_is_refused_where_nobody_knows_how_large_a_pixel_is(tmp_path: Path) -> None:
    steps = {"organ": Steps(smallest_ml=0.01)}
    bundle = thresholding_bundle(tmp_path, plane="stored", modality="picture", postprocessing=steps)
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "cells.png")
    with pytest.raises(UserError, match=r"it removes pieces below a size in ml\. State it with --pixel-size MM\."):
        Predictor(bundle).predict(tmp_path / "cells.png")
    assert Predictor(bundle).predict(tmp_path / "cells.png", pixel_size_mm=1.0).labels.array.sum() == 20  # 20 mm3


def metadata(path: Path) -> dict:
    return json.loads((path / "configs/metadata.json").read_text())["unet"]


def test_the_format_rises_where_older_versions_would_give_another_mask_and_only_there(tmp_path: Path) -> None:
    plain = make_bundle(tmp_path / "a")
    assert metadata(plain.path)["format"] == 1
    assert set(metadata(plain.path)["recipe"]) == {"preprocessing", "head", "label_table", "image_channels", "modality"}
    warmer = make_bundle(tmp_path / "b", postprocessing={}, augmentation=MIRRORED)
    assert metadata(warmer.path)["format"] == 1
    assert (warmer.recipe.temperature, warmer.recipe.flips) == (1.5, {"columns": ()})
    cleaned = make_bundle(tmp_path / "c", postprocessing={"lesion": Steps(holes=True)})
    assert metadata(cleaned.path)["format"] == 2
    assert open_bundle(cleaned.path).recipe.postprocessing == {"lesion": Steps(holes=True)}
    assert "lesion: holes filled" in (cleaned.path / "docs/README.md").read_text()
    assert len({plain.digest, warmer.digest, cleaned.digest}) == 3


def test_what_was_chosen_for_other_weights_is_not_packaged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_chosen(run, {"organ": Steps(largest=True)}, epoch=2)  # the checkpoints are of epoch 1
    assert build_bundle(run.path, tmp_path / "bundle").recipe.postprocessing == {}


def test_a_damaged_choice_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for text in (
        "{",
        "[]",
        '{"epoch": 1}',
        '{"epoch": 1, "postprocessing": {"kidney": {}}, "calibration": {"temperature": 1}}',
    ):
        run.chosen.write_text(text)
        with pytest.raises(UserError, match=r"chosen\.json: is damaged"):
            build_bundle(run.path, tmp_path / "bundle")


CHANGES = {
    "temperature": {"temperature": 0.0},
    "axis": {"flips": {"slices": []}},
    "structure": {"flips": {"rows": [[0, 2]]}},
    "no steps": {"postprocessing": {"organ": {"largest": 1}}},
    "a list": {"postprocessing": ["organ"]},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_that_makes_no_sense_is_refused(name: str, tmp_path: Path) -> None:
    data = make_bundle(tmp_path).recipe.to_json()
    recipe_from_json(data, where="here")
    with pytest.raises(UserError, match="here: the bundle's recipe cannot be read"):
        recipe_from_json(data | CHANGES[name], where="here")


def test_with_mirror_images_the_mask_of_the_mirrored_scan_is_the_mirrored_mask(tmp_path: Path) -> None:
    """In an axial slice columns run to the patient's left, which is the scan's first axis. A random network has no symmetry."""
    bundle = make_bundle(tmp_path, augmentation=MIRRORED, network={"width": 3})
    image = np.random.default_rng(0).normal(50, 150, (32, 24, 3)).astype(np.int16)

    def mask(array: np.ndarray, *, flips: bool) -> np.ndarray:
        return Predictor(bundle, flips=flips).predict(Volume(array=array, affine=UP)).labels.array

    assert len(np.unique(mask(image, flips=True))) == 3
    np.testing.assert_array_equal(mask(image[::-1], flips=True)[::-1], mask(image, flips=True))
    assert (mask(image[::-1], flips=False)[::-1] != mask(image, flips=False)).any()
    assert (mask(image[:, ::-1], flips=True)[:, ::-1] != mask(image, flips=True)).any()  # rows were never mirrored


def test_the_command_says_which_mirror_images_it_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path / "flipped", augmentation=MIRRORED, modality="picture")
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(tmp_path / "cells.png")
    assert main(["predict", str(bundle.path), str(tmp_path / "cells.png"), "-o", str(tmp_path / "out"), "--flips"]) == 0
    assert json.loads((tmp_path / "out/cells/mask.json").read_text())["provenance"]["flips"] == "columns"
    plain = make_bundle(tmp_path / "plain", modality="picture")
    capsys.readouterr()
    assert main(["predict", str(plain.path), str(tmp_path / "cells.png"), "-o", str(tmp_path / "no"), "--flips"]) == 2
    assert "--flips: the network was trained without mirror images" in capsys.readouterr().err
    assert main(["evaluate", "--flips", "--predictions", "a", "--truth", "b"]) == 2
    assert "--flips: goes with a run folder" in capsys.readouterr().err
