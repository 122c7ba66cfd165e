"""The made-up CT data set is real DICOM, and its masks lie where its anatomy lies."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from pipeline.data.synthetic import SyntheticSet, write_synthetic_ct
from pipeline.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSet:
    return write_synthetic_ct(tmp_path_factory.mktemp("made") / "ct", patients=4, held_out=1)


def read_with_simpleitk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def series_of(made: SyntheticSet) -> list[Path]:
    return [made.training / name / "series" for name in made.training_patients]


def test_layout_is_series_with_masks_and_the_held_out_truth_lies_apart(made):
    files = {p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*.nii.gz")}
    assert files == {*(f"training/patient_0{n}/mask.nii.gz" for n in (1, 2, 3)), "held_out_truth/patient_04.nii.gz"}
    assert len(list((made.held_out / "patient_04/series").glob("*.dcm"))) >= 24


def test_masks_lie_on_the_grid_that_simpleitk_sees(made):
    for folder in series_of(made):
        image, mask = read_with_simpleitk(folder), sitk.ReadImage(folder.parent / "mask.nii.gz")
        assert image.GetSize() == mask.GetSize()
        for index in ((0, 0, 0), (127, 0, 3), (5, 127, image.GetSize()[2] - 1)):
            apart_mm = np.subtract(image.TransformIndexToPhysicalPoint(index), mask.TransformIndexToPhysicalPoint(index))
            assert np.abs(apart_mm).max() < 0.01


def test_hounsfield_units_differ_as_tissues_do(made):
    for folder in series_of(made):
        hu = sitk.GetArrayFromImage(read_with_simpleitk(folder)).T
        labels = np.asarray(nibabel.load(folder.parent / "mask.nii.gz").dataobj)
        organ, lesion = hu[labels == 1], hu[labels == 2]
        assert hu[0, 0].mean() == pytest.approx(-1000, abs=10)
        assert 80 < np.median(organ) < 110 and 15 < organ.std() < 30
        assert 30 < np.median(organ) - np.median(lesion) < 90
        assert 0.005 < len(lesion) / len(organ) < 0.04


def test_lesions_cannot_be_found_by_a_threshold(made):
    folder = series_of(made)[0]
    hu = sitk.GetArrayFromImage(read_with_simpleitk(folder)).T
    labels = np.asarray(nibabel.load(folder.parent / "mask.nii.gz").dataobj)
    low, high = np.percentile(hu[labels == 2], [5, 95])
    assert ((hu >= low) & (hu <= high)).sum() > 20 * (labels == 2).sum()


def test_series_differ_in_spacing_order_and_orientation(made):
    heads = [[pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()] for folder in series_of(made)]
    assert len({head[0].PixelSpacing[0] for head in heads}) == len({head[0].SliceThickness for head in heads}) == 3
    assert {head[0].PatientPosition for head in heads} == {"HFS", "FFS"}
    assert sum(list(map(float, head[0].ImageOrientationPatient)) != [1, 0, 0, 0, 1, 0] for head in heads) == 1
    for head in heads:
        by_name = sorted(head, key=lambda d: Path(d.filename).name)
        assert [d.InstanceNumber for d in by_name] != sorted(d.InstanceNumber for d in by_name)


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    again = write_synthetic_ct(tmp_path / "again", patients=1, held_out=0)
    other = write_synthetic_ct(tmp_path / "other", patients=1, held_out=0, seed=1)

    def digests(root: Path) -> list[str]:
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(root.rglob("*")) if file.is_file()]

    assert digests(again.training) == digests(made.training / "patient_01")
    assert not set(digests(again.training)) & set(digests(other.training))


def test_a_folder_with_something_in_it_is_left_alone(made):
    with pytest.raises(UserError, match="is not empty"):
        write_synthetic_ct(made.folder)
    assert made.training.is_dir()


def test_every_slice_is_valid_dicom(made):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is absent")
    for folder in series_of(made):
        file = next(folder.iterdir())
        report = subprocess.run(["dciodvfy", file], capture_output=True, text=True).stderr
        assert "Error" not in report, report
