"""Volumes to slices and back: by millimetres, over every orientation, with three different spacings."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from pipeline.data.normalise import Normalisation
from pipeline.data.slice_grid import Preprocessing, labels_to_slices, resample_slices, slice_grid, to_slices, with_neighbours
from pipeline.errors import UserError
from pipeline.io.volume import Volume
from pipeline.labels import label_table

ALL_48 = ["".join(order) for letters in product("RL", "AP", "SI") for order in permutations(letters)]
SHAPE, SPACING_MM, LANDMARK = (7, 9, 5), np.array([0.7, 0.9, 3.0]), (5, 2, 3)
AS_STORED = Normalisation(kind="none")


def affine_of(axcodes: str, tilt_deg: float = 0.0) -> np.ndarray:
    """Voxel to mm: axes run as the letters say, then everything is turned about a slanting line."""
    directions = np.zeros((3, 3))
    for axis, letter in enumerate(axcodes):
        directions["RLAPSI".index(letter) // 2, axis] = 1 if letter in "RAS" else -1
    turn = Rotation.from_rotvec(np.deg2rad(tilt_deg) * np.array([1, 2, 3]) / np.sqrt(14)).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * SPACING_MM
    affine[:3, 3] = (-31.5, 12.25, 100.0)
    return affine


def landmark_volume(affine: np.ndarray) -> Volume:
    array = np.zeros(SHAPE, dtype=np.int16)
    array[LANDMARK] = 7
    return Volume(array=array, affine=affine)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal", "stored"])
@pytest.mark.parametrize("tilt_deg", [0.0, 20.0])
def test_a_landmark_keeps_its_place_in_mm_in_all_48_orientations(plane, tilt_deg):
    for axcodes in ALL_48:
        volume = landmark_volume(affine_of(axcodes, tilt_deg))
        settings = Preprocessing(plane=plane, normalisation=AS_STORED)
        grid = slice_grid(volume.shape, volume.affine, settings)
        number, _, row, column = np.argwhere(to_slices(volume, grid, settings) == 7)[0]
        found_mm = grid.affine(volume.affine) @ (column, row, number, 1)
        np.testing.assert_allclose(found_mm, volume.affine @ (*LANDMARK, 1), atol=1e-9, err_msg=axcodes)


@pytest.mark.parametrize(("plane", "axcodes"), [("axial", "LPS"), ("coronal", "LIP"), ("sagittal", "PIL")])
@pytest.mark.parametrize("tilt_deg", [0.0, 20.0])
def test_slices_lie_as_a_radiologist_sees_them(plane, axcodes, tilt_deg):
    """Patient's left on the right, front or head above; whatever the file's order of axes."""
    for stored in ALL_48:
        affine = affine_of(stored, tilt_deg)
        grid = slice_grid(SHAPE, affine, Preprocessing(plane=plane))
        assert "".join(nibabel.aff2axcodes(grid.affine(affine))) == axcodes, stored


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal", "stored"])
@pytest.mark.parametrize("tilt_deg", [0.0, 20.0])
def test_turned_and_turned_back_is_the_same_array(plane, tilt_deg):
    array = np.arange(np.prod(SHAPE) * 2).reshape(*SHAPE, 2)
    for axcodes in ALL_48:
        grid = slice_grid(SHAPE, affine_of(axcodes, tilt_deg), Preprocessing(plane=plane))
        turned = grid.turn(array)
        assert turned.shape == (grid.slices, grid.rows, grid.columns, 2)
        assert np.array_equal(grid.turn_back(turned), array)


@pytest.mark.parametrize("spacing_mm", [0.5, 1.3, 2.0])
@pytest.mark.parametrize("axcodes", ["LPS", "RAS", "PIL", "ASL"])
def test_resampling_in_plane_keeps_a_landmark_within_half_a_pixel(axcodes, spacing_mm):
    array = np.zeros((40, 44, 36), dtype=np.float32)
    array[29, 12, 22] = 1
    volume = Volume(array=gaussian_filter(array, 2.0), affine=affine_of(axcodes, 10.0))
    settings = Preprocessing(plane="axial", spacing_mm=spacing_mm, normalisation=AS_STORED)
    grid = slice_grid(volume.shape, volume.affine, settings)
    slices = to_slices(volume, grid, settings)[:, 0].astype(np.float64)
    assert grid.resampled
    numbers, rows, columns = np.indices(slices.shape)
    centre = [float((index * slices).sum() / slices.sum()) for index in (columns, rows, numbers)]
    off_mm = np.linalg.norm((grid.affine(volume.affine) @ (*centre, 1) - volume.affine @ (29, 12, 22, 1))[:3])
    assert off_mm < 0.5 * spacing_mm * 0.2  # a tenth of a pixel: far less than half of one


def test_the_field_of_view_keeps_its_edges():
    affine = np.diag([-0.7, -0.9, 3.0, 1.0])  # LPS: nothing is turned
    grid = slice_grid((20, 30, 4), affine, Preprocessing(spacing_mm=1.4))
    assert (grid.columns, grid.rows, grid.slices) == (10, 19, 4)  # 14 mm and 27 mm in pixels of about 1.4 mm
    new = grid.affine(affine)
    edges = [(-0.5, -0.5), (9.5, 18.5)]  # outer edges of the first and last pixel
    old = [(-0.5, -0.5), (19.5, 29.5)]
    for at, was in zip(edges, old, strict=True):
        np.testing.assert_allclose(new @ (*at, 2, 1), affine @ (*was, 2, 1), atol=1e-9)


def test_pixels_within_two_percent_are_left_alone():
    affine = np.diag([0.99, 1.01, 3.0, 1.0])
    assert not slice_grid((20, 30, 4), affine, Preprocessing(spacing_mm=1.0)).resampled
    assert slice_grid((20, 30, 4), np.diag([0.95, 1.01, 3.0, 1.0]), Preprocessing(spacing_mm=1.0)).columns == 19


def test_coarser_slices_are_averaged_and_do_not_alias():
    stripes = np.tile(np.array([0.0, 1.0], dtype=np.float32), 32)[None, None, :].repeat(64, axis=1)
    assert resample_slices(stripes, 16, 16) == pytest.approx(0.5, abs=0.05)


def test_resampled_labels_go_to_the_class_that_covers_most():
    labels = np.zeros((4, 4, 1), dtype=np.uint8)
    labels[:2, :2, 0] = 30  # all of the first coarse pixel
    labels[2:, 2:, 0] = [[10, 10], [10, 30]]  # three of four
    labels[0, 2, 0] = 10  # one of four: lost
    table = label_table({"a": 10, "b": 30})
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    grid = slice_grid((4, 4, 1), affine, Preprocessing(spacing_mm=2.0))
    assert labels_to_slices(labels, grid, table)[0].tolist() == [[2, 0], [0, 1]]


def test_labels_become_class_indices_where_the_image_has_them():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[LANDMARK] = 255
    for axcodes in ALL_48:
        settings = Preprocessing(plane="coronal", normalisation=AS_STORED)
        volume = landmark_volume(affine_of(axcodes))
        grid = slice_grid(SHAPE, volume.affine, settings)
        classes = labels_to_slices(labels, grid, label_table({"spot": 255, "other": 3}))
        assert classes.dtype == np.uint8
        assert np.array_equal(classes == 2, to_slices(volume, grid, settings)[:, 0] == 7)


def test_overlapping_structures_keep_a_channel_each_and_half_a_pixel_counts():
    labels = np.zeros((4, 4, 1, 2), dtype=np.uint8)
    labels[:2, :, 0, 0] = 1
    labels[:1, :, 0, 1] = 1  # columns 0 to 1 of the coarse pixel: half of it
    table = label_table({"a": 1, "b": 2}, overlapping=True)
    grid = slice_grid((4, 4, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), Preprocessing(spacing_mm=4 / 3))
    slices = labels_to_slices(labels, grid, table)
    assert slices.shape == (1, 2, 3, 3)
    assert slices[0, 0].tolist() == [[1, 1, 0]] * 3  # the middle column lies half in, half out
    assert slices[0, 1].tolist() == [[1, 0, 0]] * 3


def test_channels_of_an_image_are_scaled_one_by_one():
    random = np.random.default_rng(0)
    array = np.stack([random.normal(100, 20, SHAPE), random.normal(-5, 0.1, SHAPE)], axis=-1)
    volume = Volume(array=array, affine=affine_of("RAS"))
    grid = slice_grid(volume.shape, volume.affine, Preprocessing())
    slices = to_slices(volume, grid, Preprocessing())
    assert slices.shape == (5, 2, 9, 7)
    assert slices.mean(axis=(0, 2, 3)) == pytest.approx([0, 0], abs=1e-4)


def test_neighbours_are_channels_and_the_ends_are_repeated():
    slices = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 3), dtype=np.float32)
    slices[:, 1] += 100  # the second channel
    assert with_neighbours(slices, 0, 1)[:, 0, 0].tolist() == [0, 100, 0, 100, 1, 101]
    assert with_neighbours(slices, 2, 1)[:, 0, 0].tolist() == [1, 101, 2, 102, 3, 103]
    assert with_neighbours(slices, 3, 2)[:, 0, 0].tolist() == [1, 101, 2, 102, 3, 103, 3, 103, 3, 103]
    assert with_neighbours(slices, 2, 0)[:, 0, 0].tolist() == [2, 102]


def test_a_volume_with_nan_is_refused():
    array = np.zeros(SHAPE, dtype=np.float32)
    array[0, 0, 0] = np.nan
    volume = Volume(array=array, affine=affine_of("RAS"))
    with pytest.raises(UserError, match="1 voxels are NaN"):
        to_slices(volume, slice_grid(SHAPE, volume.affine, Preprocessing()), Preprocessing())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"plane": "axail"}, "plane must be"),
        ({"spacing_mm": -1.0}, "spacing_mm"),
        ({"neighbours": 9}, "neighbours must be 0 to 8"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    assert words in Preprocessing(**settings).problems()[0]


def test_a_single_slice_that_is_turned_can_be_resampled():
    """Its one place along the turned axis makes NumPy call it contiguous, with a negative stride that torch refuses."""
    volume = Volume(array=np.arange(12, dtype=np.float32).reshape(1, 3, 4).T, affine=np.diag([-1.0, -1.0, -3.0, 1.0]))
    settings = Preprocessing(spacing_mm=0.5, normalisation=AS_STORED)
    grid = slice_grid(volume.shape, volume.affine, settings)
    assert grid.flipped[2]
    assert to_slices(volume, grid, settings).shape == (1, 1, 6, 8)
    one = Volume(array=np.ones((1, 1, 1), dtype=np.int16), affine=volume.affine)
    grid = slice_grid(one.shape, one.affine, settings)
    assert to_slices(one, grid, settings).shape == (1, 1, 2, 2)
