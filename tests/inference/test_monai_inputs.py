"""What the bundle's configuration finds in the folder that MONAI is pointed at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_series import noise, save, volume_datasets
from PIL import Image

from pipeline.errors import UserError
from pipeline.inference.monai_transforms import items
from pipeline.io.nifti import write_nifti
from pipeline.io.volume import Volume


def found(folder: Path) -> list[str]:
    return [Path(item["image"]).name for item in items(str(folder))]


def test_files_and_series_side_by_side_are_inputs_each(tmp_path: Path) -> None:
    save(volume_datasets(noise()), tmp_path / "series")
    write_nifti(Volume(array=np.zeros((3, 3, 3), np.uint8), affine=np.eye(4)), tmp_path / "b.nii.gz")
    Image.new("L", (4, 4)).save(tmp_path / "c.png")
    (tmp_path / "README.txt").write_text("about these")
    (tmp_path / ".DS_Store").write_text("")
    assert found(tmp_path) == ["b.nii.gz", "c.png", "series"]


def test_the_files_of_one_series_are_one_input(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path / "series", names=[f"IM{n}" for n in range(5)])
    assert found(folder) == ["series"]


def test_one_file_is_one_input(tmp_path: Path) -> None:
    write_nifti(Volume(array=np.zeros((3, 3, 3), np.uint8), affine=np.eye(4)), tmp_path / "b.nii.gz")
    assert found(tmp_path / "b.nii.gz") == ["b.nii.gz"]


def test_loose_slices_beside_other_inputs_are_not_left_out_silently(tmp_path: Path) -> None:
    save(volume_datasets(noise()), tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "thumbnail.png")
    with pytest.raises(UserError, match="holds loose DICOM files beside other inputs"):
        items(str(tmp_path))


def test_nothing_to_segment_is_an_error_and_not_an_empty_success(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is nothing to segment"):
        items(str(tmp_path))
    with pytest.raises(UserError, match="there is no such file or folder"):
        items(str(tmp_path / "absent"))
