"""The drawn distortions are those that were asked for: unbiased, as large as said, and none where switched off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import get_track_meta

from pipeline.data.augmentation import DISTORTIONS, Augmentation, in_todays_words
from pipeline.data.transforms import augment, augmentation_transforms

SIDE = 96
OFF = dict.fromkeys(DISTORTIONS.values(), 0.0)
INTENSITIES = [name for name in DISTORTIONS if name not in ("deformation", "flips")]


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


def scan() -> np.ndarray:
    """(1, H, W): mean 0, deviation 1, like a normalised scan: a bright disc with a texture, air around it."""
    row, column = np.indices((SIDE, SIDE)) - SIDE / 2
    disc = np.hypot(row, column) < 35
    image = disc * (2 + 0.3 * np.sin(row / 3) * np.cos(column / 4))
    return ((image - image.mean()) / image.std()).astype(np.float32)[np.newaxis]


def changed(name: str, count: int = 60, image: np.ndarray | None = None, **ranges: object) -> list[np.ndarray]:
    """Draws of one distortion alone, in every sample."""
    transforms = augmentation_transforms(Augmentation(**ranges).only(name))
    image = scan() if image is None else image
    label = np.zeros((1, *image.shape[1:]), dtype=np.uint8)
    return [augment(transforms, image, label, seed)[0].numpy() for seed in range(count)]


@pytest.mark.parametrize("name", INTENSITIES)
def test_each_change_of_intensity_changes_the_image_alone_and_moderately(name):
    label = np.random.default_rng(0).integers(0, 5, (1, SIDE, SIDE)).astype(np.uint8)
    transforms = augmentation_transforms(Augmentation().only(name))
    for seed in range(20):
        image, truth = augment(transforms, scan(), label, seed)
        assert np.array_equal(truth, label)
        assert 1e-5 < np.abs(image.numpy() - scan()).mean() < 0.5
        assert np.isfinite(image).all() and image.abs().max() < 5
        assert image.shape == (1, SIDE, SIDE) and image.dtype == torch.float32


@pytest.mark.parametrize("name", INTENSITIES)
def test_a_blank_patch_stays_finite(name):
    blank = np.full((2, SIDE, SIDE), -0.7, dtype=np.float32)
    assert all(np.isfinite(one).all() for one in changed(name, 10, blank))


@pytest.mark.parametrize("name", [name for name in INTENSITIES if name != "noise"])
def test_neighbouring_slices_are_changed_alike(name):
    """As channels they are one scan: equal slices stay equal."""
    for image in changed(name, 10, np.repeat(scan(), 3, axis=0)):
        np.testing.assert_allclose(image[0], image[2], atol=1e-5)


def test_noise_has_the_deviation_that_was_drawn_and_no_offset():
    noise = np.stack(changed("noise", noise_deviation=0.4)) - scan()
    deviations = noise.std(axis=(1, 2, 3))
    assert deviations.min() < 0.05 < 0.35 < deviations.max() < 0.42
    assert np.abs(noise.mean(axis=(1, 2, 3))).max() < 0.02


def test_blur_spreads_a_point_by_its_deviation():
    """The second moment of a blurred point is the square of the blur's deviation."""
    point = np.zeros((1, SIDE, SIDE), dtype=np.float32)
    point[0, 40, 50] = 1
    away = (np.arange(SIDE) - 50) ** 2
    sigmas = np.array([np.sqrt((one[0].sum(axis=0) * away).sum()) for one in changed("blur", image=point, blur_px=(1.0, 2.0))])
    assert 0.97 < sigmas.min() < 1.1 and 1.9 < sigmas.max() < 2.02


def test_low_resolution_takes_away_what_is_finer_than_its_pixels_and_leaves_the_rest():
    row, column = np.indices((SIDE, SIDE))
    fine = ((row + column) % 2 * 2.0 - 1)[np.newaxis].astype(np.float32)
    coarse = np.sin(2 * np.pi * column / 48)[np.newaxis].astype(np.float32)
    half = {"low_resolution_zoom": 0.5}
    assert min(np.abs(one).mean() for one in changed("low resolution", image=fine, **half)) < 0.05
    assert max(np.abs(one - coarse).mean() for one in changed("low resolution", image=coarse, **half)) < 0.04


def test_brightness_shifts_every_pixel_by_one_amount_to_either_side():
    shifts = np.stack(changed("brightness", brightness_shift=0.3)) - scan()
    assert shifts.std(axis=(1, 2, 3)).max() < 1e-5
    assert -0.3 <= shifts.min() < -0.2 < 0.2 < shifts.max() <= 0.3


def test_contrast_scales_about_the_mean_and_never_past_the_range():
    image = scan()
    slopes = []
    for one in changed("contrast", contrast_fraction=0.4):
        inside = (one > image.min()) & (one < image.max())
        slopes.append(np.polyfit(image[inside], one[inside], 1)[0])
        assert image.min() - 1e-5 <= one.min() and one.max() <= image.max() + 1e-5
    assert 0.59 < min(slopes) < 0.7 and 1.3 < max(slopes) < 1.41


def test_gamma_keeps_order_mean_and_deviation():
    order = np.argsort(scan(), axis=None)
    for one in changed("gamma", 20):
        assert np.diff(one.reshape(-1)[order]).min() > -1e-5
        assert one.mean() == pytest.approx(scan().mean(), abs=1e-4)
        assert one.std() == pytest.approx(scan().std(), rel=1e-3)


def test_a_bias_field_is_a_smooth_factor_of_the_signal_within_its_limits():
    """Air, which is negative behind the normalisation, stays as it is."""
    image = scan()
    disc = image > 0
    factors = []
    for one in changed("bias field", bias_field_fraction=0.5):
        np.testing.assert_allclose(one[image == image.min()], image.min(), atol=1e-5)
        factor = (one - image.min())[disc] / (image - image.min())[disc]
        factors += [factor.min(), factor.max()]
        whole = np.where(disc, (one - image.min()) / np.where(disc, image - image.min(), 1), np.nan)[0]
        assert np.nanmax(np.abs(np.diff(whole, axis=1))) < 0.06
    assert 1 / 1.501 < min(factors) < 0.8 and 1.25 < max(factors) < 1.501


def test_a_mirrored_left_kidney_is_called_a_right_one():
    label = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    label[0, 10:20, 5:15], label[0, 30:44, 70:90], label[0, 60:, 40:50] = 1, 2, 3  # left, right, spine
    settings = Augmentation(flips=("columns",), flip_probability=1).only("flips")
    transforms = augmentation_transforms(settings, swaps={"columns": ((0, 1),)})
    _, truth = augment(transforms, ramp()[:1], label, 0)
    mirrored = label[:, :, ::-1]
    assert np.array_equal(truth[mirrored == 1], np.full(100, 2))
    assert np.array_equal(truth[mirrored == 2], np.full(280, 1))
    assert np.array_equal(truth == 3, mirrored == 3)
    channels = np.stack([label[0] == k for k in (1, 2, 3)]).astype(np.uint8)
    _, many = augment(transforms, ramp()[:1], channels, 0)
    assert np.array_equal(many, np.stack([truth[0] == k for k in (1, 2, 3)]))


def test_equal_seeds_give_equal_draws_and_monais_own_setting_is_left_alone():
    before = get_track_meta()
    transforms = augmentation_transforms(Augmentation(flips=("rows",), **dict.fromkeys(DISTORTIONS.values(), 0.8)))
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
        ({"flips": ("rows", "rows")}, "names an axis twice"),
        ({"gamma": (1.5, 0.7)}, "gamma must rise within 0.1 to 10, is 1.5 to 0.7"),
        ({"blur_px": (-1.0, 1.0)}, "blur_px must rise within 0 to 20"),
        ({"low_resolution_zoom": 0.0}, "low_resolution_zoom must be 0.1 to 1, is 0"),
        ({"bias_field_fraction": -0.1}, "bias_field_fraction"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    assert words in Augmentation(**settings).problems()[0]


def test_what_is_drawn_says_its_name():
    assert Augmentation().drawn == tuple(name for name in DISTORTIONS if name not in ("flips", "bias field"))
    assert Augmentation(flips=("rows",)).only("flips", "noise").drawn == ("flips", "noise")


def test_older_files_with_one_probability_for_all_intensities_mean_what_they_meant():
    words = in_todays_words({"rotation_deg": 20.0, "intensity_probability": 0.3})
    settings = Augmentation(**words)
    assert settings.rotation_deg == 20
    each = [settings.noise_probability, settings.brightness_probability, settings.contrast_probability]
    assert [*each, settings.gamma_probability, settings.blur_probability] == [0.3, 0.3, 0.3, 0.3, 0.15]
    assert settings.low_resolution_probability == settings.bias_field_probability == 0
