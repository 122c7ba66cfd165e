"""The predictor: what it accepts, what it refuses, and that nothing but the image decides the mask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_runs import make_bundle, thresholding_bundle
from made_series import MR, noise, save, volume_datasets
from PIL import Image

from pipeline.data.slice_grid import Preprocessing
from pipeline.errors import UserError
from pipeline.inference.predictor import Predictor
from pipeline.io.read import read_volume
from pipeline.io.volume import Source, Volume

UP = np.diag([-1.0, -1.0, 3.0, 1.0])  # slices from foot to head


def hounsfield(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 150, shape).astype(np.int16)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray = UP) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize(("padding", "tiles"), [("same", (64, 68, 96)), ("valid", (44, 60, 200))])
def test_the_tile_bounds_the_memory_and_not_the_mask(padding: str, tiles: tuple[int, ...], tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, network={"padding": padding, "width": 3})
    image = Volume(array=hounsfield((97, 75, 2)), affine=UP)
    whole = Predictor(bundle).predict(image).labels.array
    assert len(np.unique(whole)) == 3
    for tile in tiles:
        np.testing.assert_array_equal(Predictor(bundle, tile=tile).predict(image).labels.array, whole)


def test_a_tile_that_is_too_small_is_refused_with_the_smallest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a tile of 8 px is smaller than the network allows\. Smallest: \d+"):
        Predictor(make_bundle(tmp_path), tile=8)


def test_two_threads_with_one_predictor_get_the_masks_of_one(tmp_path: Path) -> None:
    predictor = Predictor(make_bundle(tmp_path, network={"padding": "valid"}))
    images = [Volume(array=hounsfield((40 + n, 50 - n, 4), seed=n), affine=UP) for n in range(8)]
    alone = [predictor.predict(image).labels.array for image in images]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda image: predictor.predict(image).labels.array, images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("channel", "offset"), [(0, -1), (1, 0), (2, 1)])
def test_neighbouring_slices_go_in_from_below_to_above_and_end_with_the_last(channel: int, offset: int, tmp_path: Path) -> None:
    predictor = Predictor(thresholding_bundle(tmp_path, neighbours=1, channel=channel))
    image = np.random.default_rng(1).integers(0, 2, (6, 7, 5)).astype(np.int16)
    found = predictor.predict(Volume(array=image, affine=UP)).labels.array
    for k in range(5):
        np.testing.assert_array_equal(found[:, :, k], image[:, :, min(4, max(0, k + offset))])


def test_channels_go_in_in_their_order(tmp_path: Path) -> None:
    predictor = Predictor(thresholding_bundle(tmp_path, image_channels=2, channel=1))
    image = np.random.default_rng(1).integers(0, 2, (6, 7, 5, 2)).astype(np.int16)
    path = save_nifti(tmp_path / "two.nii.gz", image)
    np.testing.assert_array_equal(predictor.predict(path).labels.array, image[..., 1])


def test_a_path_and_its_volume_give_one_mask(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise(5, 20, 30)), tmp_path / "series")
    predictor = Predictor(make_bundle(tmp_path))
    by_path, by_volume = predictor.predict(folder), predictor.predict(read_volume(folder))
    np.testing.assert_array_equal(by_path.labels.array, by_volume.labels.array)
    assert by_path.name == by_volume.name == "series4_11111111"


def test_what_made_the_mask_is_written_down(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    found = Predictor(bundle).predict(Volume(array=hounsfield((20, 20, 2)), affine=UP))
    assert found.provenance["bundle"] == "bundle"
    assert found.provenance["bundle_sha256"] == bundle.digest
    assert {"unet", "torch", "device", "precision"} <= found.provenance.keys()
    assert {"read", "segment"} == found.timings_s.keys()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_all_numbers_is_refused_by_its_path(value: float, tmp_path: Path) -> None:
    array = np.zeros((10, 10, 2), dtype=np.float32)
    array[3, 3, 1] = value
    path = save_nifti(tmp_path / "a.nii.gz", array)
    with pytest.raises(UserError, match=f"{path}: 1 voxels are NaN or infinite"):
        Predictor(make_bundle(tmp_path)).predict(path)


def test_an_mr_series_is_refused_by_a_ct_bundle(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise(), Modality="MR", SOPClassUID=MR, RescaleIntercept=0), tmp_path / "mr")
    with pytest.raises(UserError, match=f"{folder}: the modality is MR, the bundle was trained on CT"):
        Predictor(make_bundle(tmp_path, modality="CT")).predict(folder)


def test_a_file_that_names_no_modality_is_taken(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", hounsfield((20, 20, 2)))
    assert Predictor(make_bundle(tmp_path, modality="CT")).predict(path).labels.shape == (20, 20, 2)


def test_an_image_with_other_channels_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "two.nii.gz", hounsfield((10, 10, 2, 2)))
    with pytest.raises(UserError, match=r"two\.nii\.gz: 2 image channels, the bundle was trained on 1"):
        Predictor(make_bundle(tmp_path)).predict(path)


def test_a_refused_volume_is_named_by_its_short_name(tmp_path: Path) -> None:
    image = Volume(array=hounsfield((9, 9, 2, 2)), affine=UP, source=Source(path=Path("secret/of/jane.nii.gz"), kind="nifti"))
    with pytest.raises(UserError, match=r"^jane: 2 image channels"):
        Predictor(make_bundle(tmp_path)).predict(image)


def test_a_picture_without_a_pixel_size_is_refused_where_the_bundle_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    Image.fromarray(hounsfield((30, 40)).astype(np.uint8)).save(path)
    predictor = Predictor(
        make_bundle(tmp_path, preprocessing=Preprocessing(plane="stored", spacing_mm=0.5), modality="picture")
    )
    with pytest.raises(UserError, match=r"cells.png: no pixel size is known.*State it with --pixel-size MM\."):
        predictor.predict(path)
    assert predictor.predict(path, pixel_size_mm=0.25).labels.shape == (40, 30, 1)


def test_slices_across_the_acquired_ones_are_said_to_be_coarse(tmp_path: Path) -> None:
    predictor = Predictor(make_bundle(tmp_path, preprocessing=Preprocessing(plane="coronal")))
    thick = predictor.predict(Volume(array=hounsfield((20, 20, 8)), affine=np.diag([1.0, 1, 5, 1])))
    assert [notice.code for notice in thick.notices] == ["other-plane"]
    assert "(5.0 mm against 1.0 mm)" in thick.notices[0].sentence
    assert predictor.predict(Volume(array=hounsfield((20, 20, 8)), affine=np.eye(4))).notices == ()


def test_what_the_reader_noticed_is_passed_on(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise(1, 20, 20)), tmp_path / "one")
    assert [notice.code for notice in Predictor(make_bundle(tmp_path)).predict(folder).notices] == ["single-slice"]


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
def test_a_device_that_does_not_exist_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a device"):
        Predictor(make_bundle(tmp_path), device=device)


@pytest.mark.parametrize(
    ("range_ml", "said"),
    [
        ((0.9, 1.1), []),
        ((1.02, 5.0), []),  # within a tenth
        ((1.2, 5.0), ["organ: 1.00 ml, in the training cases it was 1.2 to 5 ml"]),
        ((0.1, 0.8), ["organ: 1.00 ml, in the training cases it was 0.1 to 0.8 ml"]),
    ],
)
def test_a_volume_unlike_those_of_the_training_is_said(range_ml: tuple[float, float], said: list[str], tmp_path: Path) -> None:
    bundle = replace(thresholding_bundle(tmp_path), volumes_ml={"organ": range_ml})
    array = np.zeros((20, 20, 20), dtype=np.float32)
    array[5:15, 5:15, 5:15] = 1  # 1000 voxels of a cubic millimetre
    found = Predictor(bundle).predict(Volume(array=array, affine=np.eye(4)))
    assert [notice.sentence for notice in found.notices if notice.code == "unlike-training"] == said


def test_a_structure_that_is_missing_is_unlike_a_training_that_always_had_it(tmp_path: Path) -> None:
    bundle = replace(thresholding_bundle(tmp_path), volumes_ml={"organ": (0.5, 2.0)})
    found = Predictor(bundle).predict(Volume(array=np.zeros((20, 20, 4), dtype=np.float32), affine=np.eye(4)))
    assert [notice.sentence for notice in found.notices] == [
        "organ: 0 ml (not found), in the training cases it was 0.5 to 2 ml"
    ]
