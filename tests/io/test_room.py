"""Scans that are larger than the memory left for them: refused by their headers."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_series import noise, save, volume_datasets

from pipeline.errors import UserError
from pipeline.io.read import read_volume

SHAPE = (28, 24, 6)
VALUES = 28 * 24 * 6


def series(folder: Path) -> Path:
    return save(volume_datasets(noise(6, 24, 28)), folder)


def nifti(folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4)), path)
    return path


@pytest.mark.parametrize(("make", "bytes_a_value"), [(series, 2), (nifti, 4)])
def test_what_fits_is_read_and_what_does_not_is_refused_with_both_figures(make, bytes_a_value: int, tmp_path: Path) -> None:
    path = make(tmp_path)
    assert read_volume(path, most_bytes=VALUES * bytes_a_value).shape == SHAPE
    words = r"28 x 24 x 6 voxels need 0\.00 GB, 0\.00 GB are left for them\. Give more with --max-ram"
    with pytest.raises(UserError, match=words):
        read_volume(path, most_bytes=VALUES * bytes_a_value - 1)


def test_the_values_of_a_scan_that_is_too_large_are_not_looked_at(tmp_path: Path) -> None:
    """They are cut off, which nobody finds out."""
    path = tmp_path / "large.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((200, 200, 200), np.int16), np.eye(4)), tmp_path / "large.nii")
    path.write_bytes(gzip.compress((tmp_path / "large.nii").read_bytes())[:-20])
    with pytest.raises(UserError, match=r"200 x 200 x 200 voxels need 0\.03 GB, 0\.01 GB are left for them"):
        read_volume(path, most_bytes=10_000_000)
    with pytest.raises(UserError, match="damaged or cut off"):
        read_volume(path)
