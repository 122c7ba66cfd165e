"""Labels on another grid: the nearest voxel in mm, exactly where axes only change their order, refused where nothing fits."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.io.resample import Resampled, resample_labels
from pipeline.io.volume import Volume

SHAPE = (9, 7, 5)
ALL_48 = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def labels(shape: tuple[int, ...] = SHAPE, *, seed: int = 0, most: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most, shape).astype(np.uint8)


def grid(spacing=(0.7, 0.9, 3.0), origin=(-20.0, 11.0, 40.0)) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def onto(mask: np.ndarray, affine: np.ndarray, like: np.ndarray, shape: tuple[int, int, int]) -> Resampled:
    return resample_labels(Volume(array=mask, affine=affine), affine=like, shape=shape, name="image")


def turned(order: tuple[int, int, int], signs: tuple[int, int, int], shape: tuple[int, int, int]) -> np.ndarray:
    """4x4 from the index in a turned array to the index in the original one."""
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for new, old in enumerate(order):
        matrix[old, new] = signs[new]
        matrix[old, 3] = shape[old] - 1 if signs[new] < 0 else 0
    return matrix


@pytest.mark.parametrize(("order", "signs"), ALL_48)
def test_another_order_or_direction_of_the_axes_gives_the_same_voxels(order, signs) -> None:
    mask, affine = labels(), grid()
    like = affine @ turned(order, signs, SHAPE)
    found = onto(mask, affine, like, tuple(SHAPE[old] for old in order))
    wanted = np.flip(mask.transpose(order), [axis for axis in range(3) if signs[axis] < 0])
    np.testing.assert_array_equal(found.labels.array, wanted)
    assert all(a.voxels_before == a.voxels_after and a.voxels_outside == 0 for a in found.amounts)


def test_a_grid_half_as_fine_takes_the_voxel_in_which_its_centre_lies() -> None:
    mask = np.array([1, 2, 3, 4, 5, 6], dtype=np.uint8).reshape(6, 1, 1)
    # centres at 0.9, 2.9 and 4.9 of voxels at 0, 1, 2, ...: nearest are 1, 3 and 5
    found = onto(mask, np.eye(4), grid((2, 1, 1), (0.9, 0, 0)), (3, 1, 1))
    assert found.labels.array.ravel().tolist() == [2, 4, 6]


def test_half_way_between_two_voxels_the_higher_index_is_taken_whatever_the_rounding_of_the_header() -> None:
    mask = np.array([1, 2, 3], dtype=np.uint8).reshape(3, 1, 1)
    for noise_mm in (0, 1e-5, -1e-5):
        found = onto(mask, np.eye(4), grid((1, 1, 1), (0.5 + noise_mm, 0, 0)), (2, 1, 1))
        assert found.labels.array.ravel().tolist() == [2, 3]


def simpleitk(mask: np.ndarray, affine: np.ndarray, like: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The same by SimpleITK. Grids are given to it as the affine transform of a plain grid, so that shear is no matter."""
    moving = sitk.GetImageFromArray(np.ascontiguousarray(mask.T))
    to_mask = np.linalg.inv(affine) @ like
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(to_mask[:3, :3].ravel().tolist())
    transform.SetTranslation(to_mask[:3, 3].tolist())
    reference = sitk.Image([int(n) for n in shape], sitk.sitkUInt8)
    return sitk.GetArrayFromImage(sitk.Resample(moving, reference, transform, sitk.sitkNearestNeighbor, 0)).T


numbers = st.floats(-1, 1, allow_nan=False, width=32)


@st.composite
def affines(draw, least_mm: float, most_mm: float) -> np.ndarray:
    """Turned by any angle, sheared by up to 30 degrees, spacing within the two, the middle near that of the other."""
    turn, _ = np.linalg.qr(np.array(draw(st.lists(numbers, min_size=9, max_size=9))).reshape(3, 3) + 2 * np.eye(3))
    spacing = np.array(draw(st.lists(st.floats(least_mm, most_mm), min_size=3, max_size=3)))
    shear = np.eye(3)
    shear[0, 2], shear[1, 2] = draw(numbers) * 0.57, draw(numbers) * 0.57
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear * spacing
    affine[:3, 3] = np.array(draw(st.lists(numbers, min_size=3, max_size=3))) * 2 - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


@settings(max_examples=200, deadline=None)
@given(a=affines(0.3, 3), b=affines(1, 5), seed=st.integers(0, 9))
def test_any_two_grids_agree_with_simpleitk_except_half_way_between_two_voxels(a, b, seed) -> None:
    mask = labels(seed=seed) + 1  # no zeros: what lies outside shows
    to_mask = np.linalg.inv(a) @ b
    index = np.indices(SHAPE).reshape(3, -1).T @ to_mask[:3, :3].T + to_mask[:3, 3]
    # SimpleITK decides exact halves by its last bit, ours by a thousandth of a voxel: only there they may differ
    clear = (np.abs(index - np.floor(index) - 0.5) > 2e-3).all(axis=1).reshape(SHAPE)
    try:
        found = onto(mask, a, b, SHAPE).labels.array
    except UserError as error:
        assert "lie in image; 50% are needed" in str(error)
        back = np.indices(SHAPE).reshape(3, -1).T @ np.linalg.inv(to_mask)[:3, :3].T + np.linalg.inv(to_mask)[:3, 3]
        assert ((back > -0.5) & (back < np.array(SHAPE) - 0.5)).all(axis=1).mean() < 0.51
        return
    np.testing.assert_array_equal(found[clear], simpleitk(mask, a, b, SHAPE)[clear])


def test_a_sheared_grid_is_met_in_millimetres() -> None:
    mask = np.zeros((40, 40, 10), dtype=np.uint8)
    mask[20:24, 10:14, 4:6] = 3
    sheared = np.eye(4)
    sheared[:3, 2] = (0, 1.0, 1.0)  # each slice 1 mm further to the front: whole voxels, so it is exact
    found = onto(mask, np.eye(4), sheared, (40, 40, 10)).labels.array
    for k in range(10):
        wanted = np.zeros((40, 40))
        wanted[:, : 40 - k] = mask[:, k:, k]
        np.testing.assert_array_equal(found[:, :, k], wanted)


def test_what_is_lost_is_counted_in_voxels_and_ml() -> None:
    mask = np.zeros((10, 10, 10), dtype=np.uint8)
    mask[2:8, 4, 4], mask[0, 0, 0] = 1, 2
    found = onto(mask, np.diag([2.0, 1, 1, 1]), grid((1, 1, 1), (2.5, 0, 0)), (20, 10, 10))  # 2.5 mm and on: 2, 3, 4, 5, ...
    one, two = found.amounts
    assert (one.name, one.voxels_before, one.voxels_outside, one.voxels_after) == ("label 1", 6, 0, 12)
    assert (one.ml_before, one.ml_after) == (pytest.approx(0.012), pytest.approx(0.012))
    assert (two.voxels_before, two.voxels_outside, two.voxels_after, two.ml_outside) == (1, 1, 0, pytest.approx(0.002))
    assert [n.code for n in found.labels.source.notices] == ["reference-not-covered", "labels-outside"]


def test_a_structure_thinner_than_the_voxels_is_said_to_be_gone() -> None:
    mask = np.zeros((30, 30, 30), dtype=np.uint8)
    mask[5:25, 5:25, 5:25], mask[12, 12, 12] = 1, 2
    found = onto(mask, np.eye(4), grid((5, 5, 5), (0, 0, 0)), (6, 6, 6))
    assert "too small for the voxels of image, nothing is left: label 2" in [str(n) for n in found.labels.source.notices]


def test_a_mask_of_another_place_is_refused_with_its_share_in_ml() -> None:
    mask = np.ones((10, 10, 10), dtype=np.uint8)
    with pytest.raises(UserError, match=r"only 30.0% of the labelled voxels \(0.3 of 1 ml\) lie in image; 50% are needed"):
        onto(mask, np.eye(4), grid((1, 1, 1), (7, 0, 0)), (10, 10, 10))
    assert onto(mask, np.eye(4), grid((1, 1, 1), (5, 0, 0)), (10, 10, 10)).covered_fraction == 0.5


def test_an_empty_mask_must_at_least_cover_half_of_the_image() -> None:
    empty = np.zeros((10, 10, 10), dtype=np.uint8)
    with pytest.raises(UserError, match=r"marks nothing, and its grid covers only 40\.0% of image"):
        onto(empty, np.eye(4), grid((1, 1, 1), (6, 0, 0)), (10, 10, 10))
    assert onto(empty, np.eye(4), np.eye(4), (10, 10, 10)).amounts == ()


def test_channels_of_overlapping_structures_stay_channels() -> None:
    mask = (labels((*SHAPE, 2)) > 1).astype(np.uint8)
    found = onto(mask, grid(), grid(), SHAPE)
    np.testing.assert_array_equal(found.labels.array, mask)
    assert [(a.name, a.voxels_after) for a in found.amounts] == [
        ("channel 1", int(mask[..., 0].sum())),
        ("channel 2", int(mask[..., 1].sum())),
    ]


def test_a_grey_image_is_no_mask() -> None:
    grey = np.arange(300, dtype=np.int16).reshape(10, 10, 3)
    with pytest.raises(UserError, match="more than 256 different values, from 0 to 299: this is no mask"):
        onto(grey, np.eye(4), np.eye(4), (10, 10, 3))


def test_memory_is_the_result_and_little_more(tmp_path: Path) -> None:
    import tracemalloc

    mask = Volume(array=np.ones((200, 200, 150), dtype=np.uint8), affine=np.eye(4))
    tracemalloc.start()
    resample_labels(mask, affine=np.eye(4) @ np.diag([0.9, 0.9, 0.9, 1]), shape=(200, 200, 150), name="image")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000 + 25_000_000  # 6 MB of result; some slices of indexes in 64 bits
