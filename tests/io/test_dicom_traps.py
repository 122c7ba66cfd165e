"""Headers that lie, break off or are damaged: what each of them once did to a volume, and must not do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_series import MR, noise, save, slice_dataset, volume_datasets
from oracle_series import Pixels, Plane, classic, enhanced, stack
from oracle_series import save as save_one
from pydicom.uid import UID

from pipeline.errors import UserError
from pipeline.io.read import read_volume

SERIES = "1.2.826.0.1.3680043.8.498.11111111"


def frames(count: int = 4, **more) -> list[Plane]:
    axes = np.eye(3)[:, :2]
    return stack(noise(count, 6, 8), first=(0, 0, 0), axes=axes, spacing=(0.5, 0.75), step=(0, 0, 3), **more)


# --- slices that break off ---


def test_a_slice_that_breaks_off_in_its_header_refuses_its_series_even_at_the_end(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    whole = (folder / "005.dcm").read_bytes()
    cut = pydicom.dcmread(folder / "005.dcm").get_item("Rows").value_tell - 8
    (folder / "005.dcm").write_bytes(whole[:cut])
    with pytest.raises(UserError, match=r"005.dcm: .*is missing or unreadable"):
        read_volume(folder)


def test_a_broken_copy_of_a_whole_slice_is_set_aside(tmp_path: Path) -> None:
    folder = save(volume_datasets(noise()), tmp_path)
    cut = pydicom.dcmread(folder / "005.dcm").get_item("Rows").value_tell - 8
    (folder / "z.dcm").write_bytes((folder / "005.dcm").read_bytes()[:cut])
    volume = read_volume(folder)
    assert volume.shape == (8, 6, 5)
    assert dict(volume.source.files_set_aside)["z.dcm"].startswith("damaged DICOM file")
    assert any("z.dcm" in str(notice) for notice in volume.source.notices)


def test_lost_slices_of_tiny_things_do_not_hide_in_the_tolerance(tmp_path: Path) -> None:
    """Slices 0.02 mm apart: with one lost, no slice is off by more than the 0.05 mm that a scanner's positions may be."""
    datasets = volume_datasets(noise(8), step=(0, 0, 0.02), PixelSpacing=[0.01, 0.01])
    assert read_volume(save(datasets, tmp_path / "whole")).shape[2] == 8
    del datasets[3]
    with pytest.raises(UserError, match="slices are missing"):
        read_volume(save(datasets, tmp_path / "lost"))


# --- what is no volume, and what is several ---


@pytest.mark.parametrize("keyword", ["PatientID", "Modality"])
def test_images_of_two_patients_or_machines_under_one_series_are_no_volume(keyword: str, tmp_path: Path) -> None:
    datasets = volume_datasets(noise())
    setattr(datasets[4], keyword, "PT" if keyword == "Modality" else "Another^Id")
    with pytest.raises(UserError, match=r"005.dcm: one slice does not belong .* another (patient|modality)") as refusal:
        read_volume(save(datasets, tmp_path / "one"))
    assert "Secret" not in str(refusal.value)
    for dataset in datasets[::2]:
        setattr(dataset, keyword, "PT" if keyword == "Modality" else "Another^Id")
    with pytest.raises(UserError, match="there are 2 volumes"):
        read_volume(save(datasets, tmp_path / "two"))


@pytest.mark.parametrize(
    ("group", "creator", "element"), [(0x19, "SIEMENS MR HEADER", 0x0A), (0x65, "Image Private Header", 0x50)]
)
def test_a_mosaic_is_known_by_its_makers_element_too(group: int, creator: str, element: int, tmp_path: Path) -> None:
    dataset = slice_dataset(noise(1)[0], (0, 0, 0), SOPClassUID=MR, Modality="MR")
    dataset.private_block(group, creator, create=True).add_new(element, "US", 16)
    with pytest.raises(UserError, match="there is no image volume: 1 x mosaic"):
        read_volume(save([dataset], tmp_path))


def scout(folder: Path, images: int = 3) -> None:
    """Three planes across each other, under a series of their own."""
    planes = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])
    steps = ((0, 0, 9), (0, 9, 0), (9, 0, 0))
    for n, (turned, step) in enumerate(zip(planes, steps, strict=True)):
        datasets = volume_datasets(noise(images, seed=n), step=step, series=f"{SERIES}.5", ImageOrientationPatient=turned)
        for k, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = f"{SERIES}.5.{n}.{k}"
        save(datasets, folder / str(n))


def test_a_three_plane_scout_beside_a_volume_is_set_aside_and_alone_it_is_a_question(tmp_path: Path) -> None:
    scout(tmp_path / "scout")
    with pytest.raises(UserError, match="there are 3 volumes"):
        read_volume(tmp_path)
    save(volume_datasets(noise()), tmp_path / "volume")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, noise().transpose(2, 1, 0) - 1000)
    assert [why for _, why in volume.source.files_set_aside] == ["localizer"] * 9


def test_slices_that_are_empty_at_both_times_are_no_copies(tmp_path: Path) -> None:
    times = [noise(), noise(seed=1)]
    for array in times:
        array[4] = 0
    datasets = [d for array in times for d in volume_datasets(array)]
    for number, dataset in enumerate(datasets, start=1):
        dataset.InstanceNumber, dataset.SOPInstanceUID = number, f"{SERIES}.{number}"
    save(datasets, tmp_path)
    for n, array in enumerate(times, start=1):
        np.testing.assert_array_equal(read_volume(tmp_path, volume=str(n)).array, array.transpose(2, 1, 0) - 1000)


def test_numbers_that_some_images_lack_put_nothing_in_order(tmp_path: Path) -> None:
    datasets = [*volume_datasets(noise()), *volume_datasets(noise(seed=1))]
    for number, dataset in enumerate(datasets):
        dataset.SOPInstanceUID = f"{SERIES}.{number}"
        if number != 2:
            dataset.AcquisitionNumber = 1 + number // 5
    with pytest.raises(UserError, match="claim the same position with different pixels"):
        read_volume(save(datasets, tmp_path))


def test_parallel_stacks_of_one_object_are_two_volumes_even_end_to_end(tmp_path: Path) -> None:
    planes = frames(6)
    told = [
        Plane(**{**{f: getattr(p, f) for f in p.__slots__}, "told": {"StackID": str(1 + (k > 2))}})
        for k, p in enumerate(planes)
    ]
    save_one(enhanced(told, uid="1.2", series=SERIES, modality="MR", pixels=Pixels()), tmp_path / "one")
    with pytest.raises(UserError, match="there are 2 volumes"):
        read_volume(tmp_path)


def test_a_folder_of_the_same_series_twice_under_new_uids_is_one_volume(tmp_path: Path) -> None:
    save(volume_datasets(noise()), tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for file in (tmp_path / "b").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.7"
        dataset.save_as(file)
    volume = read_volume(tmp_path)
    assert volume.shape == (8, 6, 5)
    assert any("there twice" in str(notice) for notice in volume.source.notices)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"])
def test_what_stands_behind_the_pixels_is_not_left_out(syntax: str, tmp_path: Path) -> None:
    """The headers are read up to the pixels: a rescale behind them would be taken for absent."""
    form = Pixels(syntax=UID(syntax))
    for k, plane in enumerate(frames(intercept=-1000.0)):
        save_one(classic(plane, number=k, uid=f"1.2.{k}", series=SERIES, modality="CT", pixels=form), tmp_path / f"{k}")
    whole = (tmp_path / "2").read_bytes()
    big = syntax.endswith(".1.2.2")
    tag = b"\x00\x28\x10\x52" if big else b"\x28\x00\x52\x10"
    begin = whole.index(tag)
    end = begin + 8 + int.from_bytes(whole[begin + 6 : begin + 8], "big" if big else "little")
    (tmp_path / "2").write_bytes(whole[:begin] + whole[end:] + whole[begin:end])
    with pytest.raises(UserError, match="2: behind the pixels stands what belongs before them"):
        read_volume(tmp_path)


def test_packed_pixels_of_a_file_whose_group_2_is_damaged_are_refused(tmp_path: Path) -> None:
    form = Pixels(syntax=UID("1.2.840.10008.1.2.5"))
    dataset = classic(frames()[0], number=1, uid="1.2.3", series=SERIES, modality="CT", pixels=form)
    save_one(dataset, tmp_path / "one")
    whole = (tmp_path / "one").read_bytes()
    begin = whole.index(b"\x02\x00\x10\x00UI")
    end = begin + 8 + int.from_bytes(whole[begin + 6 : begin + 8], "little")
    length = int.from_bytes(whole[140:144], "little") - (end - begin)
    (tmp_path / "one").write_bytes(whole[:140] + length.to_bytes(4, "little") + whole[144:begin] + whole[end:])
    with pytest.raises(UserError, match=r"one: "):
        read_volume(tmp_path)
