"""MONAI's LoadImaged with our reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_series import noise, save, volume_datasets
from monai.transforms import LoadImaged

from pipeline.errors import UserError
from pipeline.io.monai_reader import VolumeReader
from pipeline.io.nifti import write_nifti
from pipeline.io.read import read_volume


@pytest.fixture
def load() -> LoadImaged:
    return LoadImaged(keys="image", reader=VolumeReader(), ensure_channel_first=True)


def test_a_dicom_folder_and_its_nifti_load_alike(load: LoadImaged, tmp_path: Path) -> None:
    volume = read_volume(save(volume_datasets(noise()), tmp_path / "series"))
    write_nifti(volume, tmp_path / "a.nii.gz")
    for path in (tmp_path / "series", tmp_path / "a.nii.gz"):
        image = load({"image": path})["image"]
        np.testing.assert_array_equal(image.numpy()[0], volume.array)
        np.testing.assert_allclose(image.affine.numpy(), volume.affine, atol=1e-5)


def test_channels_come_first_and_files_become_channels(load: LoadImaged, tmp_path: Path) -> None:
    volume = read_volume(save(volume_datasets(noise()), tmp_path / "series"))
    write_nifti(volume, tmp_path / "a.nii.gz")
    assert load({"image": [tmp_path / "a.nii.gz", tmp_path / "series"]})["image"].shape == (2, 8, 6, 5)


def test_a_refused_series_is_not_read_by_anyone_else(load: LoadImaged, tmp_path: Path) -> None:
    datasets = volume_datasets(noise())
    del datasets[2]
    with pytest.raises(UserError, match="slices are missing"):
        load({"image": save(datasets, tmp_path)})
