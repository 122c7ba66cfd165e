"""`accept_irregular`: uneven stacks on an even grid, every acquired slice unchanged and found again."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_series import noise, save, slice_dataset, volume_datasets

from pipeline.errors import UserError
from pipeline.io.convert import convert_scan
from pipeline.io.read import read_volume


def series_at(heights_mm, folder: Path, array: np.ndarray) -> Path:
    """Slice k of `array` (slices, rows, columns) at heights_mm[k]."""
    places = [(-100.0, -120.0, height) for height in heights_mm]
    return save([slice_dataset(a, p, number=k + 1) for k, (a, p) in enumerate(zip(array, places, strict=True))], folder)


def height_of(volume, k: int) -> float:
    return float((volume.affine @ [0, 0, k, 1])[2])


def test_a_hole_is_filled_with_neighbours_and_said(tmp_path: Path) -> None:
    array = noise(7)
    datasets = volume_datasets(array)
    folder = save([d for k, d in enumerate(datasets) if k != 3], tmp_path / "s")
    with pytest.raises(UserError, match=r"1 missing.*--accept-irregular"):
        read_volume(folder)
    volume = read_volume(folder, accept_irregular=True)
    assert volume.shape == (8, 6, 7)
    assert volume.source.shown_in == (0, 1, 2, 4, 5, 6)
    assert np.allclose(volume.affine[:3, 2], [0, 0, 3])
    for source, shown in zip((0, 1, 2, 4, 5, 6), volume.source.shown_in, strict=True):
        assert np.array_equal(volume.array[:, :, shown], array[source].T - 1000)
        assert height_of(volume, shown) == pytest.approx(40 + 3 * source)
    assert any(np.array_equal(volume.array[:, :, 3], volume.array[:, :, k]) for k in (2, 4))
    assert [n.code for n in volume.source.notices] == ["evened"]
    assert "3.00 mm from where it was acquired" in str(volume.source.notices[0])
    assert volume.source.geometry is not None and volume.source.geometry.kind == "gapped"


def test_every_slice_of_an_uneven_stack_is_kept_within_the_stated_distance(tmp_path: Path) -> None:
    heights = [40.0, 44.0, 48.0, 50.5, 53.0, 58.0, 60.2]
    array = noise(len(heights))
    volume = read_volume(series_at(heights, tmp_path / "s", array), accept_irregular=True)
    grid = [height_of(volume, k) for k in range(volume.shape[2])]
    assert grid[0] == pytest.approx(40.0) and grid[-1] == pytest.approx(60.2)
    assert np.ptp(np.diff(grid)) < 1e-9
    for k, shown in enumerate(volume.source.shown_in):
        assert np.array_equal(volume.array[:, :, shown], array[k].T - 1000)
    for g, height in enumerate(grid):  # each grid slice shows the source slice nearest to it
        nearest = int(np.argmin(np.abs(np.array(heights) - height)))
        assert np.array_equal(volume.array[:, :, g], array[nearest].T - 1000)
    furthest = max(min(abs(h - g) for h in heights) for g in grid)
    assert f"up to {furthest:.2f} mm from" in str(volume.source.notices[0])


def test_the_file_says_that_it_was_resampled(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(6))
    del datasets[2]
    convert_scan(save(datasets, tmp_path / "hole"), tmp_path / "hole.nii.gz", accept_irregular=True)
    convert_scan(save(volume_datasets(noise(6)), tmp_path / "whole"), tmp_path / "whole.nii.gz")
    convert_scan(save(volume_datasets(noise(6), step=(0, 1.0, 3.0)), tmp_path / "tilt"), tmp_path / "tilt.nii.gz")
    said = {
        name: bytes(nibabel.load(tmp_path / f"{name}.nii.gz").header["descrip"]).rstrip(b"\0")
        for name in ("hole", "whole", "tilt")
    }
    assert said == {
        "hole": b"resampled: uneven slices put on even grid",
        "whole": b"",
        "tilt": b"resampled: tilted slices moved in plane",
    }


def test_an_even_stack_is_not_touched(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path / "s")
    plain, asked = read_volume(folder), read_volume(folder, accept_irregular=True)
    assert np.array_equal(plain.array, asked.array) and np.array_equal(plain.affine, asked.affine)
    assert asked.source.notices == () and asked.source.shown_in == (0, 1, 2, 3, 4)


def test_a_slice_beside_the_line_stays_refused(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(6))
    datasets[3].ImagePositionPatient = [-96.0, -120.0, 49.0]
    with pytest.raises(UserError, match=r"004\.dcm lies 4\.00 mm from its position in line"):
        read_volume(save(datasets, tmp_path / "one"), accept_irregular=True)
    datasets[2].ImagePositionPatient = [-98.0, -120.0, 46.0]
    with pytest.raises(UserError, match=r"004\.dcm lies 4\.00 mm beside the line"):
        read_volume(save(datasets, tmp_path / "s"), accept_irregular=True)


def test_a_grid_of_hundreds_of_slices_for_a_few_is_refused(tmp_path: Path) -> None:
    folder = series_at([40.0, 45.0, 45.1, 50.0, 57.0, 60.0], tmp_path / "s", noise(6))
    with pytest.raises(UserError, match=r"002\.dcm and 003\.dcm lie 0\.10 mm apart"):
        read_volume(folder, accept_irregular=True)


def test_a_missing_attribute_is_not_a_matter_of_spacing(tmp_path: Path) -> None:
    datasets = volume_datasets(noise(), PixelSpacing=None)
    with pytest.raises(UserError, match="PixelSpacing"):
        read_volume(save(datasets, tmp_path / "s"), accept_irregular=True)
