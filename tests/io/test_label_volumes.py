"""Masks on the grid of their image, or the distance in mm."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.io.read import read_label_volume, read_volume
from pipeline.io.volume import Volume
from pipeline.labels import label_table

TABLE = label_table({"liver": 1, "tumour": 2})
OVERLAPPING = label_table({"liver": 1, "tumour": 2}, overlapping=True)
AFFINE = np.array([[-0.7, 0, 0, 10], [0, -0.9, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]], dtype=float)  # LPS


@pytest.fixture
def image() -> Volume:
    return Volume(array=np.zeros((4, 5, 6), dtype=np.int16), affine=AFFINE)


def store(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def labels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (4, 5, 6)).astype(np.uint8)


@pytest.mark.parametrize("codes", ["RAS", "PIR", "ASL", "LPS"])
def test_the_same_grid_in_another_axis_order_is_turned_exactly(codes: str, image: Volume, tmp_path: Path) -> None:
    right = nibabel.Nifti1Image(labels(), AFFINE)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(codes))
    nibabel.save(right.as_reoriented(turn), tmp_path / "mask.nii.gz")
    mask = read_label_volume(tmp_path / "mask.nii.gz", like=image, table=TABLE)
    np.testing.assert_array_equal(mask.array, labels())
    np.testing.assert_array_equal(mask.affine, image.affine)


def test_a_moved_mask_is_refused_with_its_distance(image: Volume, tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 1.5
    with pytest.raises(UserError, match=r"up to 1.50 mm apart"):
        read_label_volume(store(tmp_path / "m.nii", labels(), moved), like=image, table=TABLE)


def test_rounding_of_positions_passes(image: Volume, tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 0.009
    assert read_label_volume(store(tmp_path / "m.nii", labels(), moved), like=image, table=TABLE).shape == (4, 5, 6)


def test_another_shape_is_refused(image: Volume, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the shape is \(4, 5, 5\) instead of \(4, 5, 6\)"):
        read_label_volume(store(tmp_path / "m.nii", labels()[:, :, :5]), like=image, table=TABLE)


def test_fractions_are_refused_with_value_and_count(image: Volume, tmp_path: Path) -> None:
    array = labels().astype(np.float32)
    array[0, 0, :2] = 0.25
    with pytest.raises(UserError, match=r"m.nii: 2 voxels of the mask hold fractions, e.g. 0.25"):
        read_label_volume(store(tmp_path / "m.nii", array), like=image, table=TABLE)


def test_whole_floats_become_whole_numbers(image: Volume, tmp_path: Path) -> None:
    mask = read_label_volume(store(tmp_path / "m.nii", labels().astype(np.float32)), like=image, table=TABLE)
    assert mask.array.dtype == np.uint8


def test_undeclared_values_are_kept_for_the_check_to_report(image: Volume, tmp_path: Path) -> None:
    array = labels().astype(np.int16)
    array[0, 0, 0] = -1024
    assert read_label_volume(store(tmp_path / "m.nii", array), like=image, table=TABLE).array[0, 0, 0] == -1024


def test_overlapping_structures_come_as_channels(image: Volume, tmp_path: Path) -> None:
    channels = np.stack([labels() > 0, labels() > 1], axis=-1).astype(np.uint8)
    mask = read_label_volume(store(tmp_path / "m.nii", channels), like=image, table=OVERLAPPING)
    np.testing.assert_array_equal(mask.array, channels)
    with pytest.raises(UserError, match="2 channels, and the structures are not declared as overlapping"):
        read_label_volume(tmp_path / "m.nii", like=image, table=TABLE)


def test_a_label_map_of_overlapping_structures_is_spread_over_channels(image: Volume, tmp_path: Path) -> None:
    mask = read_label_volume(store(tmp_path / "m.nii", labels()), like=image, table=OVERLAPPING)
    np.testing.assert_array_equal(mask.array[..., 1], labels() == 2)


def test_one_file_a_structure(image: Volume, tmp_path: Path) -> None:
    first, second = np.zeros((4, 5, 6), dtype=np.uint8), np.zeros((4, 5, 6), dtype=np.uint8)
    first[0], second[0, 0, 0], second[1] = 1, 255, 255  # they share one voxel
    paths = [store(tmp_path / "liver.nii", first), store(tmp_path / "tumour.nii", second)]
    apart = read_label_volume(paths, like=image, table=OVERLAPPING)
    assert apart.array[0, 0, 0].tolist() == [1, 1]
    together = read_label_volume(paths, like=image, table=TABLE)
    assert (together.array[0, 0, 0], together.array[1, 0, 0]) == (1, 2)
    assert "1 in both liver and tumour" in together.source.notices[0].sentence


def test_a_mask_picture_needs_the_size_of_its_image(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5, 7), dtype=np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(np.full((5, 7), 255, dtype=np.uint8)).save(tmp_path / "mask.png")
    Image.fromarray(np.zeros((7, 5), dtype=np.uint8)).save(tmp_path / "turned.png")
    image = read_volume(tmp_path / "image.png", pixel_size_mm=0.004)
    mask = read_label_volume(tmp_path / "mask.png", like=image, table=label_table({"cell": 255}))
    assert (mask.array == 255).all() and mask.spacing_mm == image.spacing_mm
    with pytest.raises(UserError, match="the size is"):
        read_label_volume(tmp_path / "turned.png", like=image, table=TABLE)


def test_what_is_no_mask_at_all_is_said_so(image: Volume, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("liver = 1")
    with pytest.raises(UserError, match="no mask that can be read"):
        read_label_volume(tmp_path / "notes.txt", like=image, table=TABLE)
