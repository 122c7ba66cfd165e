"""Intensities: equal to MONAI's transforms where they define the same thing, and whole where MONAI leaves it open."""

import numpy as np
import pytest
from monai.transforms import ClipIntensityPercentiles, NormalizeIntensity, ScaleIntensityRange, ScaleIntensityRangePercentiles

from pipeline.data import normalise as module
from pipeline.data.normalise import Normalisation, normalise
from pipeline.errors import UserError


@pytest.fixture
def scan() -> np.ndarray:
    """Skewed grey values as of an MR volume, with a few very bright voxels."""
    random = np.random.default_rng(3)
    volume = random.gamma(2.0, 150.0, (23, 31, 7)).astype(np.float32)
    volume[3, 4, 5] = 40_000
    return volume


def test_window_is_monais_scale_intensity_range(scan):
    ours = normalise(scan - 300, Normalisation(kind="window", low=-160, high=240))
    monais = ScaleIntensityRange(a_min=-160, a_max=240, b_min=-1, b_max=1, clip=True)(scan - 300)
    np.testing.assert_allclose(ours, monais, atol=1e-5)


def test_zscore_of_everything_is_monais_normalize_intensity(scan):
    ours = normalise(scan, Normalisation(kind="zscore", low=0, high=100))
    np.testing.assert_allclose(ours, NormalizeIntensity()(scan), atol=1e-5)


def test_zscore_between_percentiles_is_monais_clipping_and_normalising(scan):
    ours = normalise(scan, Normalisation(kind="zscore", low=0.5, high=99.5))
    clipped = ClipIntensityPercentiles(0.5, 99.5)(scan)
    np.testing.assert_allclose(ours, NormalizeIntensity()(clipped), atol=1e-5)


def test_percentiles_are_monais_scale_intensity_range_percentiles(scan):
    ours = normalise(scan, Normalisation(kind="percentiles", low=1, high=98))
    monais = ScaleIntensityRangePercentiles(1, 98, -1, 1, clip=True)(scan)
    np.testing.assert_allclose(ours, monais, atol=1e-5)


def test_a_window_worked_out_by_hand():
    ours = normalise(
        np.array([[[-1000, -160, 40, 240, 3071]]], dtype=np.int16), Normalisation(kind="window", low=-160, high=240)
    )
    assert ours.tolist() == [[[-1, -1, 0, 1, 1]]]
    assert ours.dtype == np.float32


def test_foreground_is_the_clipped_scan_less_the_structures_mean_over_their_deviation():
    """Worked out by hand: 60 +- 20 HU inside the structures, which reach from 20 to 120."""
    how = Normalisation(kind="foreground", low=20, high=120, mean=60, deviation=20)
    ours = normalise(np.array([[[-1000, 20, 60, 90, 120, 3071]]], dtype=np.int16), how)
    assert ours.tolist() == [[[-2, -2, 0, 1.5, 3, 3]]]
    assert ours.dtype == np.float32
    assert how.limits == (-2, 3)
    assert how.problems() == []


def test_as_stored_changes_the_type_alone():
    assert normalise(np.array([[[7, -3]]], dtype=np.int16), Normalisation(kind="none")).tolist() == [[[7, -3]]]


@pytest.mark.parametrize("kind", ["zscore", "percentiles"])
@pytest.mark.parametrize("value", [0.1, 1e-3, 7.7, 300])
def test_a_constant_volume_becomes_zero(kind, value):
    assert not normalise(np.full((9, 11, 7), value), Normalisation(kind=kind)).any()


@pytest.mark.parametrize("kind", ["zscore", "percentiles"])
def test_a_few_bright_spots_on_black_stay_visible(kind):
    dark = np.zeros((100, 100, 1), dtype=np.uint8)
    dark[10, 10:20] = 200  # 0.1 % of the pixels: both percentiles are 0
    scaled = normalise(dark, Normalisation(kind=kind))
    assert scaled[10, 10, 0] > scaled[0, 0, 0] + 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused_and_counted(scan, wrong):
    scan[1, 1, :2] = wrong
    with pytest.raises(UserError, match="2 voxels are NaN or infinite"):
        normalise(scan, Normalisation(kind="window", low=0, high=1))


def test_the_order_of_the_voxels_in_memory_changes_no_bit(scan):
    turned = np.asfortranarray(scan)
    assert np.array_equal(normalise(scan, Normalisation()), normalise(turned, Normalisation()))


def test_large_values_keep_their_small_differences():
    large = 1e6 + np.random.default_rng(0).random((20, 20, 20))  # a deviation from squares of the values would lose them
    assert normalise(large, Normalisation(low=0, high=100)).std() == pytest.approx(1, abs=1e-4)


def test_a_volume_of_several_parts_is_scaled_as_one(scan, monkeypatch):
    whole = normalise(scan, Normalisation())
    monkeypatch.setattr(module, "CHUNK", 1000)
    np.testing.assert_allclose(normalise(scan, Normalisation()), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low": 5, "high": 5}, "must be below"),
        ({"low": float("nan")}, "must be below"),
        ({"kind": "percentiles", "low": -1}, "0 to 100"),
        ({"kind": "zscore", "high": 101}, "0 to 100"),
        ({"kind": "foreground", "low": -50, "high": 50, "deviation": 0}, "deviation must be above 0, is 0"),
        ({"kind": "foreground", "low": -50, "high": 50, "deviation": float("nan")}, "deviation must be above 0, is nan"),
        ({"kind": "foreground", "low": -50, "high": 50, "mean": 60}, "mean must lie in -50 to 50, is 60"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, words):
    assert words in Normalisation(**settings).problems()[0]
