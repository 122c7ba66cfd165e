"""The body of a CT: what is found, what is left out, and that nothing changes where it is looked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import make_bundle, thresholding_bundle

from pipeline.bundle.recipe import recipe_from_json
from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing, slice_grid
from pipeline.errors import UserError
from pipeline.inference.body import MARGIN_MM, Box, body_box
from pipeline.inference.predictor import Predictor
from pipeline.inference.segment import segment
from pipeline.io.volume import Volume
from pipeline.labels import label_table

LPS = np.diag([-1.0, -1.0, 3.0, 1.0])  # columns to the left, rows to the back: axial slices as they are stored
AXIAL = Preprocessing()


def scan(shape: tuple[int, int, int] = (160, 140, 12)) -> np.ndarray:
    """Noisy air with an elliptic body, in it a lung; (columns, rows, slices)."""
    columns, rows, slices = np.ogrid[: shape[0], : shape[1], : shape[2]]
    array = np.random.default_rng(0).normal(-1000, 30, shape)
    body = ((columns - 70) / 35) ** 2 + ((rows - 60) / 22) ** 2 <= 1
    array[np.broadcast_to(body & (slices >= 2) & (slices < 9), shape)] = 40
    array[60:75, 55:65, 3:8] = -850
    return array.astype(np.int16)


def box_in(array: np.ndarray, affine: np.ndarray = LPS, how: Preprocessing = AXIAL) -> Box | None:
    volume = Volume(array=array, affine=affine, modality="CT")
    return body_box(volume, slice_grid(volume.shape, affine, how))


def test_the_box_holds_the_body_with_a_margin_and_little_more():
    box = box_in(scan())
    assert box is not None
    assert box.slices == (0, 12)  # 15 mm are 5 slices
    for (first, last), low, high in ((box.rows, 38, 83), (box.columns, 35, 106)):
        assert low - MARGIN_MM - 3 <= first <= low - MARGIN_MM + 6
        assert high + MARGIN_MM - 6 <= last <= high + MARGIN_MM + 3


def test_a_table_and_cables_do_not_count_and_arms_do():
    array = scan()
    bare = box_in(array)
    array[10:150, 118:124, :] = 200  # a plate of six pixels below the patient, from end to end
    array[5:8, 5:8, :] = 3000
    assert box_in(array) == bare
    array[130:150, 50:70, 2:9] = 40
    assert box_in(array).columns[1] > 150 > bare.columns[1]


def test_millimetres_decide_and_not_pixels():
    """A scan of 5 mm pixels: a neck of 12 pixels is 60 mm wide, and stays."""
    array = np.full((89, 69, 98), -1000, dtype=np.int16)
    array[10:80, 15:50, :60] = 40
    array[39:51, 25:37, 60:90] = 40
    affine = np.diag([-5.0, -5.0, 6.0, 1.0])
    box = box_in(array, affine)
    assert box is not None
    assert box.slices[1] >= 90


@settings(max_examples=40, deadline=None)
@given(
    corner=st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 6)),
    size=st.tuples(st.integers(16, 60), st.integers(16, 60), st.integers(1, 5)),
    plane=st.sampled_from(["axial", "coronal", "sagittal", "stored"]),
)
def test_a_body_anywhere_lies_in_its_box(corner, size, plane):
    array = np.full((90, 80, 16), -1000, dtype=np.int16)
    array[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = 0
    how = Preprocessing(plane=plane)
    grid = slice_grid(array.shape, LPS, how)
    turned = grid.turn(array)
    box = box_in(array, how=how)
    assert box is not None
    outside = turned.copy()
    outside[(slice(*box.slices), *box.in_plane)] = -1000
    assert outside.max() == -1000


def test_air_alone_and_a_body_that_fills_the_scan_have_no_box():
    assert box_in(np.full((40, 40, 3), -1000, np.int16)) is None
    assert box_in(np.zeros((40, 40, 3), np.int16)) is None


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("spacing_mm", [0.0, 0.7, 1.6])
@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_inside_the_box_labels_are_those_of_the_whole_scan(padding, spacing_mm, plane, tmp_path):
    how = Preprocessing(
        plane=plane, spacing_mm=spacing_mm, neighbours=1, normalisation=Normalisation(kind="window", low=-1000, high=300)
    )
    bundle = make_bundle(tmp_path, network={"padding": padding, "width": 3}, preprocessing=how)
    volume = Volume(array=scan((120, 100, 16)), affine=LPS, modality="CT")
    predictor = Predictor(bundle)
    whole = segment(predictor.network, volume, bundle.recipe, device=predictor.device)
    recipe = recipe_from_json({**bundle.recipe.to_json(), "body_box": True}, where="test")
    boxed = segment(predictor.network, volume, recipe, device=predictor.device)
    grid = slice_grid(volume.shape, volume.affine, how)
    box = body_box(volume, grid)
    assert box is not None
    inside = (slice(*box.slices), *box.in_plane)
    same = grid.turn(whole)[inside] == grid.turn(boxed)[inside]
    assert same.mean() > 0.9999  # single precision may round a score at a tie
    outside = grid.turn(boxed).copy()
    outside[inside] = 0
    assert not outside.any()
    assert whole.any()


def test_background_may_have_any_value(tmp_path):
    """Membranes of 0 on a background of 255: what is not looked at is 255."""
    table = label_table({"body": 0, "background": 255})
    bundle = thresholding_bundle(tmp_path, table=table, at=-500)
    volume = Volume(array=scan(), affine=LPS, modality="CT")
    predictor = Predictor(bundle)
    recipe = recipe_from_json({**bundle.recipe.to_json(), "body_box": True}, where="test")
    boxed = segment(predictor.network, volume, recipe, device=predictor.device)
    np.testing.assert_array_equal(boxed, segment(predictor.network, volume, bundle.recipe, device=predictor.device))
    assert set(np.unique(boxed)) == {0, 255}


def test_other_modalities_are_segmented_whole(tmp_path: Path):
    bundle = thresholding_bundle(tmp_path, modality="MR", at=-2000)  # everything is the structure
    recipe = recipe_from_json({**bundle.recipe.to_json(), "body_box": True}, where="test")
    predictor = Predictor(bundle)
    volume = Volume(array=scan(), affine=LPS, modality="MR")
    assert segment(predictor.network, volume, recipe, device=predictor.device).all()


def test_a_recipe_that_says_neither_true_nor_false_is_refused(tmp_path: Path):
    run = make_bundle(tmp_path)
    with pytest.raises(UserError, match="body_box is 'yes'"):
        recipe_from_json({**run.recipe.to_json(), "body_box": "yes"}, where="test")
