"""The drawn distortions are those that were asked for: unbiased, as large as said, and none where switched off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import get_track_meta

from pipeline.data.augmentation import Augmentation
from pipeline.data.transforms import augment, augmentation_transforms

SIDE = 96
OFF = {"spatial_probability": 0.0, "flip_probability": 0.0, "intensity_probability": 0.0}


def ramp() -> np.ndarray:
    """(2, H, W): each pixel holds its own row and column, so a distorted image says where each pixel came from."""
    return np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")).astype(np.float32)


def drawn(settings: dict[str, object], count: int, image: np.ndarray | None = None) -> list[np.ndarray]:
    transforms = augmentation_transforms(Augmentation(**{**OFF, **settings}))
    label = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    return [augment(transforms, ramp() if image is None else image, label, seed)[0].numpy() for seed in range(count)]


def turns_deg(images: list[np.ndarray]) -> np.ndarray:
    """Angle of each from the direction of the middle row: no other distortion may be on."""
    middle = SIDE // 2
    steps = [image[:, middle, middle + 10] - image[:, middle, middle - 10] for image in images]
    return np.array([np.rad2deg(np.arctan2(step[0], step[1])) for step in steps])


def test_rotations_go_both_ways_evenly_though_drawn_for_seven_of_ten():
    """A draw of the angle from the seed that also decides whether to turn would leave out a part of the angles."""
    turns = turns_deg(drawn({"spatial_probability": 0.7, "rotation_deg": 15, "scaling_fraction": 0, "elastic_px": 0}, 300))
    turned = turns[np.abs(turns) > 1e-3]
    assert len(turned) / 300 == pytest.approx(0.7, abs=0.08)  # three standard deviations
    assert turned.min() < -12 < 12 < turned.max()
    assert np.abs(turned).max() <= 15.1
    assert turned.mean() == pytest.approx(0, abs=1.8)  # uniform over 30 degrees, 210 draws: standard error 0.6
    assert turned.std() == pytest.approx(15 / 3**0.5, rel=0.1)


def test_scales_lie_within_what_is_asked_and_on_both_sides():
    images = drawn({"spatial_probability": 1, "rotation_deg": 0, "scaling_fraction": 0.15, "elastic_px": 0}, 120)
    middle = SIDE // 2
    scales = np.array([(image[1, middle, middle + 10] - image[1, middle, middle - 10]) / 20 for image in images])
    assert 0.849 < scales.min() < 0.88
    assert 1.12 < scales.max() < 1.151


def test_distortions_of_size_zero_leave_every_pixel_where_it_is():
    still = {"spatial_probability": 1, "rotation_deg": 0, "scaling_fraction": 0, "elastic_px": 0}
    np.testing.assert_allclose(drawn(still, 1)[0], ramp(), atol=1e-3)


@pytest.mark.parametrize("elastic_px", [2.0, 5.0])
def test_elastic_displacements_are_as_large_as_asked(elastic_px):
    """Standard deviation at the control points; between them the bicubic interpolation makes it a little smaller."""
    images = drawn({"spatial_probability": 1, "rotation_deg": 0, "scaling_fraction": 0, "elastic_px": elastic_px}, 100)
    inner = slice(SIDE // 4, -SIDE // 4)  # reflection at the border would fold the ramp back
    moved = np.stack([(image - ramp())[:, inner, inner] for image in images])
    assert 0.7 * elastic_px < moved.std() < 1.1 * elastic_px
    assert moved.mean() == pytest.approx(0, abs=0.15 * elastic_px)


def test_elastic_deformation_is_smooth():
    image = drawn({"spatial_probability": 1, "rotation_deg": 0, "scaling_fraction": 0, "elastic_px": 3}, 1)[0]
    inner = (image - ramp())[:, 10:-10, 10:-10]
    assert np.abs(np.diff(inner, axis=1)).max() < 0.5  # control points are 48 px apart


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_flips_mirror_the_named_axis_alone(axis):
    images = drawn({"flip_probability": 1.0, "flips": (axis,)}, 1)
    mirrored = ramp()[:, ::-1] if axis == "rows" else ramp()[:, :, ::-1]
    assert np.array_equal(images[0], mirrored)


def test_half_of_the_samples_are_flipped():
    images = drawn({"flip_probability": 0.5, "flips": ("columns",)}, 200)
    assert np.mean([image[1, 0, 0] != 0 for image in images]) == pytest.approx(0.5, abs=0.11)


def test_probability_zero_switches_everything_off():
    assert all(np.array_equal(image, ramp()) for image in drawn({"flips": ("rows", "columns")}, 20))


def test_no_flip_where_sides_have_names():
    assert Augmentation().flips == ()


def test_intensities_change_and_stay_reasonable():
    image = np.random.default_rng(0).normal(0, 1, (1, SIDE, SIDE)).astype(np.float32)
    images = drawn({"intensity_probability": 1.0}, 20, image)
    assert all(np.abs(one - image).mean() > 0.01 for one in images)
    assert all(np.isfinite(one).all() and np.abs(one).max() < 10 for one in images)


def test_a_blank_patch_stays_finite():
    blank = np.zeros((1, SIDE, SIDE), dtype=np.float32)
    settings = {"spatial_probability": 1.0, "intensity_probability": 1.0}
    assert all(np.isfinite(one).all() for one in drawn(settings, 20, blank))


def test_equal_seeds_give_equal_draws_and_monais_own_setting_is_left_alone():
    before = get_track_meta()
    transforms = augmentation_transforms(Augmentation())
    label = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    first, _ = augment(transforms, ramp(), label, 5)
    augment(transforms, ramp(), label, 6)
    again, _ = augment(transforms, ramp(), label, 5)
    assert torch.equal(first, again)
    assert get_track_meta() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"spatial_probability": 1.5}, "spatial_probability must be 0 to 1"),
        ({"rotation_deg": 200}, "rotation_deg"),
        ({"scaling_fraction": 0.95}, "scaling_fraction"),
        ({"elastic_px": float("nan")}, "elastic_px"),
        ({"flips": ("left",)}, "may hold rows and columns, not 'left'"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    assert words in Augmentation(**settings).problems()[0]
