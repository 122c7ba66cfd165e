"""`unet convert` as a user types it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_series import noise, save, volume_datasets

from pipeline.cli.main import main


def test_a_series_becomes_nifti_and_one_line_says_what_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(volume_datasets(noise()), tmp_path / "series")
    assert main(["convert", str(folder), str(tmp_path / "new" / "ct.nii.gz")]) == 0
    out, err = capsys.readouterr()
    assert out == f"8x6x5 voxels of 0.750 x 0.500 x 3.000 mm, CT: {tmp_path / 'new' / 'ct.nii.gz'}\n" and err == ""
    image = nibabel.load(tmp_path / "new" / "ct.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), noise().transpose(2, 1, 0) - 1000)


def test_a_refusal_is_one_line_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save([d for k, d in enumerate(volume_datasets(noise())) if k != 2], tmp_path / "series")
    assert main(["convert", str(folder), str(tmp_path / "ct.nii.gz")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "slices are missing" in err
    assert [p.name for p in tmp_path.iterdir()] == ["series"]
