"""The mask lies where the anatomy lies: a network that thresholds the image gives the thresholded image, voxel by voxel."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from made_runs import thresholding_bundle

from pipeline.data.slice_grid import AXES
from pipeline.handout.folder import write_prediction
from pipeline.inference.predictor import Predictor
from pipeline.io.volume import Volume
from pipeline.labels import label_table

ALL_48 = ["".join(order) for letters in product("RL", "AP", "SI") for order in permutations(letters)]
SPACING_MM = (0.7, 0.9, 3.0)
DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def affine_of(orientation: str) -> np.ndarray:
    """Three letters: the directions of the axes; "oblique" is turned by 20, 15 and 10 degrees about all three."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([DIRECTIONS[letter] for letter in orientation.replace("oblique", "LPS")]).T * SPACING_MM
    affine[:3, 3] = (-31.5, 47.25, 12.0)
    if orientation == "oblique":
        for axis, degrees in enumerate((20, 15, 10)):
            turn, (a, b) = np.eye(4), [other for other in range(3) if other != axis]
            cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
            turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cosine, -sine, sine, cosine
            affine = turn @ affine
    return affine


def zeros_and_ones(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, shape).astype(np.int16)


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    planes = (*AXES, "stored")
    return {plane: Predictor(thresholding_bundle(tmp_path_factory.mktemp(plane), plane=plane)) for plane in planes}


@pytest.mark.parametrize("orientation", [*ALL_48, "oblique"])
def test_every_plane_gives_the_thresholded_volume_in_its_own_voxels(orientation: str, predictors: dict) -> None:
    image = Volume(array=zeros_and_ones((7, 10, 5)), affine=affine_of(orientation))
    for predictor in predictors.values():
        labels = predictor.predict(image).labels
        np.testing.assert_array_equal(labels.array, image.array)
        np.testing.assert_array_equal(labels.affine, image.affine)
        assert labels.array.dtype == np.uint8


@pytest.mark.parametrize("orientation", ["LPS", "IAR", "oblique"])
def test_the_paper_s_unpadded_network_gives_it_too(orientation: str, tmp_path: Path) -> None:
    predictor = Predictor(thresholding_bundle(tmp_path, padding="valid", plane="coronal"))
    image = Volume(array=zeros_and_ones((9, 8, 11)), affine=affine_of(orientation))
    np.testing.assert_array_equal(predictor.predict(image).labels.array, image.array)


@pytest.mark.parametrize("orientation", [*ALL_48[::3], "oblique"])
def test_both_libraries_find_the_landmark_of_the_written_mask_at_its_millimetres(
    orientation: str, predictors: dict, tmp_path: Path
) -> None:
    array = np.zeros((7, 10, 5), dtype=np.int16)
    array[5, 2, 3] = 1
    affine = affine_of(orientation)
    landmark_mm = affine @ (5, 2, 3, 1)
    folder = write_prediction(predictors["axial"].predict(Volume(array=array, affine=affine)), tmp_path)
    seen = nibabel.load(folder / "mask.nii.gz")
    assert np.argwhere(np.asarray(seen.dataobj) == 1).tolist() == [[5, 2, 3]]
    np.testing.assert_allclose(seen.affine @ (5, 2, 3, 1), landmark_mm, atol=1e-3)
    itk = sitk.ReadImage(str(folder / "mask.nii.gz"))
    index = np.argwhere(sitk.GetArrayFromImage(itk) == 1)[0][::-1]
    x_lps, y_lps, z_lps = itk.TransformIndexToPhysicalPoint(index.tolist())
    np.testing.assert_allclose((-x_lps, -y_lps, z_lps), landmark_mm[:3], atol=1e-3)
    assert itk.GetPixelID() == sitk.sitkUInt8


def ball(affine: np.ndarray, shape: tuple[int, int, int], centre_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(places - centre_mm, axis=-1) <= radius_mm).astype(np.float32)


def middle_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]


@pytest.mark.parametrize("plane", list(AXES))
@pytest.mark.parametrize("spacing_mm", [0.5, 2.0])
@pytest.mark.parametrize("orientation", ["LPS", "SAR", "oblique"])
def test_resampled_in_plane_the_landmark_stays_within_half_a_pixel(
    orientation: str, spacing_mm: float, plane: str, tmp_path: Path
) -> None:
    affine, shape = affine_of(orientation), (61, 44, 18)
    centre_mm = affine[:3, :3] @ (38.3, 17.6, 7.2) + affine[:3, 3]
    image = Volume(array=ball(affine, shape, centre_mm, 11.0), affine=affine)
    labels = Predictor(thresholding_bundle(tmp_path, plane=plane, spacing_mm=spacing_mm)).predict(image).labels
    assert labels.shape == shape
    moved_mm = np.linalg.inv(affine[:3, :3] / SPACING_MM) @ (
        middle_mm(labels.array, affine) - middle_mm(image.array > 0.5, affine)
    )
    assert (np.abs(moved_mm) <= np.array(SPACING_MM) / 2).all()
    volumes = np.count_nonzero(labels.array) / np.count_nonzero(image.array)
    assert 0.85 < volumes < 1.15  # neither grown nor shrunk


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_classes_become_the_values_of_the_table(padding: str, tmp_path: Path) -> None:
    table = label_table({"background": 9, "organ": 4, "lesion": 200})
    predictor = Predictor(thresholding_bundle(tmp_path, table=table, padding=padding))
    image = np.random.default_rng(0).integers(0, 3, (12, 9, 4)).astype(np.int16)
    labels = predictor.predict(Volume(array=image, affine=affine_of("LPS"))).labels.array
    np.testing.assert_array_equal(labels, np.choose(image, [9, 4, 200]))


def test_a_sigmoid_head_marks_one_structure(tmp_path: Path) -> None:
    predictor = Predictor(thresholding_bundle(tmp_path, table=label_table({"cell": 255}), head="sigmoid"))
    image = zeros_and_ones((12, 9, 4))
    labels = predictor.predict(Volume(array=image, affine=affine_of("LPS"))).labels.array
    np.testing.assert_array_equal(labels, image * 255)


@pytest.mark.parametrize("orientation", ["LPS", "IRA"])
def test_overlapping_structures_have_a_channel_each(orientation: str, tmp_path: Path) -> None:
    table = label_table({"whole": 1, "core": 2}, overlapping=True)
    predictor = Predictor(thresholding_bundle(tmp_path, table=table, head="sigmoid", plane="sagittal"))
    image = np.random.default_rng(0).integers(0, 3, (12, 9, 4)).astype(np.int16)
    prediction = predictor.predict(Volume(array=image, affine=affine_of(orientation)))
    np.testing.assert_array_equal(prediction.labels.array, np.stack([image >= 1, image >= 2], axis=-1))
    folder = write_prediction(prediction, tmp_path / "out")
    assert sitk.ReadImage(str(folder / "mask.nii.gz")).GetSize() == (12, 9, 4, 2)
    written = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(written, prediction.labels.array)
